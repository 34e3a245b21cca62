// Node as one end of a handshake (its TLS is OpenSSL's, with Node's own settings). Commands come on standard input, one JSON
// object a line; answers and reports leave on standard output (../../README.md, "Drivers").
import { appendFileSync, readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import tls from "node:tls";

const GROUPS = {
  0x0017: "P-256", 0x0018: "P-384", 0x0019: "P-521", 0x001d: "X25519", 0x001e: "X448",
  0x11eb: "SecP256r1MLKEM768", 0x11ec: "X25519MLKEM768", 0x11ed: "SecP384r1MLKEM1024",
  0x0200: "MLKEM512", 0x0201: "MLKEM768", 0x0202: "MLKEM1024",
};
const VERSIONS = { 0x0301: "TLSv1", 0x0302: "TLSv1.1", 0x0303: "TLSv1.2", 0x0304: "TLSv1.3" };
const NUMBER = Object.fromEntries(Object.entries(VERSIONS).map(([number, name]) => [name, Number(number)]));
const SUITES = {
  TLS_AES_128_GCM_SHA256: 0x1301, TLS_AES_256_GCM_SHA384: 0x1302, TLS_CHACHA20_POLY1305_SHA256: 0x1303,
  TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: 0xc02b, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384: 0xc02c,
  TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256: 0xc02f, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384: 0xc030,
  TLS_RSA_WITH_AES_128_GCM_SHA256: 0x009c, TLS_DHE_RSA_WITH_AES_128_GCM_SHA256: 0x009e,
};
const NAMES = {
  0x009c: "AES128-GCM-SHA256", 0x009e: "DHE-RSA-AES128-GCM-SHA256", 0xc02b: "ECDHE-ECDSA-AES128-GCM-SHA256",
  0xc02f: "ECDHE-RSA-AES128-GCM-SHA256", 0x1301: "TLS_AES_128_GCM_SHA256", 0x1302: "TLS_AES_256_GCM_SHA384",
  0x1303: "TLS_CHACHA20_POLY1305_SHA256",
};
const servers = new Map();
const sessions = new Map();

// What both sides set.
function base(c) {
  const options = { minVersion: VERSIONS[c.minimum || 0x0303], maxVersion: VERSIONS[c.maximum || 0x0304] };
  if (c.groups?.length) options.ecdhCurve = c.groups.map((group) => GROUPS[group]).join(":");
  if (c.alpn?.length) options.ALPNProtocols = c.alpn;
  if (c.suites?.length) options.ciphers = c.suites.map((suite) => NAMES[suite]).join(":");
  if (c.chain) Object.assign(options, { cert: readFileSync(c.chain), key: readFileSync(c.key) });
  if (c.trust) options.ca = readFileSync(c.trust);
  return options;
}

function tell(report, end) {
  report.version = NUMBER[end.getProtocol()] ?? null;
  report.suite = SUITES[end.getCipher()?.standardName] ?? null;
  report.resumed = end.isSessionReused();
  report.alpn = end.alpnProtocol || "";
}

function fail(report, error) {
  report.error ||= `${error.code ?? ""} ${error.message}`;
  const received = /SSL alert number (\d+)/.exec(error.message);
  if (received) report.alert_received = Number(received[1]);
}

function serve(c, answer) {
  const options = { ...base(c), requestCert: Boolean(c.trust), rejectUnauthorized: Boolean(c.trust) };
  if (!c.tickets) options.secureOptions = 1 << 14; // SSL_OP_NO_TICKET
  const server = tls.createServer(options);
  const reports = new Map();
  const about = (socket) => {
    if (!reports.has(socket.remotePort)) reports.set(socket.remotePort, { port: socket.remotePort, done: false, served: false });
    return reports.get(socket.remotePort);
  };
  server.on("connection", about);
  server.on("keylog", (line) => appendFileSync(c.keylog, line));
  server.on("tlsClientError", (error, socket) => {
    const port = socket.remotePort ?? socket._parent?.remotePort;
    if (reports.has(port)) fail(reports.get(port), error);
  });
  if (c.ocsp) server.on("OCSPRequest", (certificate, issuer, callback) => callback(null, readFileSync(c.ocsp)));
  server.on("secureConnection", (end) => {
    const report = about(end);
    report.done = true;
    tell(report, end);
    end.on("error", (error) => fail(report, error));
    end.once("data", () => {
      report.served = true;
      end.end("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
  });
  const [, host] = /^(.*):\d+$/.exec(c.address);
  server.listen(0, host, () => {
    servers.set(c.id, { server, reports });
    answer({ port: server.address().port });
  });
}

function connect(c, answer) {
  const [, host, port] = /^(.*):(\d+)$/.exec(c.address);
  const report = { port: 0, done: false, served: false };
  const options = { ...base(c), host, port: Number(port), servername: c.name };
  if (c.ocsp) options.requestOCSP = true;
  if (c.session && sessions.has(c.session)) options.session = sessions.get(c.session);
  const end = tls.connect(options);
  const timer = setTimeout(() => end.destroy(new Error("out of patience")), c.patience_ms || 20000);
  end.on("connect", () => (report.port = end.localPort));
  end.on("keylog", (line) => appendFileSync(c.keylog, line));
  end.on("session", (session) => c.session && sessions.set(c.session, session));
  end.on("error", (error) => fail(report, error));
  end.on("secureConnect", () => {
    report.done = true;
    tell(report, end);
    const key = end.getEphemeralKeyInfo();
    const name = { prime256v1: "P-256", secp384r1: "P-384", secp521r1: "P-521" }[key?.name] ?? key?.name;
    const group = Object.entries(GROUPS).find(([, known]) => known === name);
    if (group) report.group = Number(group[0]);
    end.write("GET / HTTP/1.0\r\n\r\n");
  });
  end.on("data", () => (report.served = true));
  end.on("close", () => {
    clearTimeout(timer);
    answer({ report });
  });
}

function stop(c, answer) {
  const { server, reports } = servers.get(c.serve);
  servers.delete(c.serve);
  server.close(() => answer({ reports: [...reports.values()] }));
}

const deeds = { serve, connect, stop };
createInterface({ input: process.stdin })
  .on("line", (line) => {
    const c = JSON.parse(line);
    const answer = (value) => process.stdout.write(JSON.stringify({ id: c.id, ...value }) + "\n");
    try {
      deeds[c.do](c, answer);
    } catch (error) {
      answer({ error: String(error) });
    }
  })
  .on("close", () => process.exit(0));
