"""Starts an engine, feeds it a month of history over OTLP, and measures its rounds. Started by scripts/bench-slo."""

import http.client
import os
import re
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time

engine, slos, series, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
limits = sys.argv[5] == "yes"
INTERVAL = 10
MOST_MILLISECONDS, MOST_MIB = 250, 1024
HOUR, DAY = 3600, 86400

SLO = """apiVersion: openslo/v1
kind: SLO
metadata:
  name: slo-{number}
spec:
  service: service-{number}
  budgetingMethod: Occurrences
  timeWindow:
    - duration: 30d
      isRolling: true
  indicator:
    metadata:
      name: indicator-{number}
    spec:
      ratioMetric:
        counter: true
        good:
          metricSource:
            type: pqscope
            spec:
              metric: pqscope.handshakes
              match:
                pqscope.service: service-{number}
                pqscope.outcome: completed
        total:
          metricSource:
            type: pqscope
            spec:
              metric: pqscope.handshakes
              match:
                pqscope.service: service-{number}
  objectives:
    - target: 0.99
"""


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out + bytes([number]))


def field(number, content):
    """A field of bytes in Protocol Buffers' encoding."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def attribute(key, value):
    return field(1, key.encode()) + field(2, field(1, value.encode()))


def heads(outcome):
    """What every point of a counter begins with: all but times and value, which take 27 bytes."""
    for number in range(slos):
        own = field(7, attribute("pqscope.service", f"service-{number}"))
        own += field(7, attribute("pqscope.outcome", outcome)) + field(7, attribute("tls.protocol.version", "1.3"))
        yield varint(1 << 3 | 2) + varint(len(own) + 27) + own


RESOURCE = field(1, field(1, attribute("service.name", "agent")) + field(1, attribute("service.instance.id", "1")))


def request(counters, start, end):
    """An export of one delta point per counter."""
    points = bytearray()
    for begun, value in counters:
        times = struct.pack("<BQBQ", 2 << 3 | 1, start * 10**9, 3 << 3 | 1, end * 10**9)
        tail = times + struct.pack("<Bq", 6 << 3 | 1, value)
        points += tail.join(begun) + tail
    data = bytes(points) + bytes([2 << 3, 1, 3 << 3, 1])
    metric = field(1, b"pqscope.handshakes") + field(7, data)
    return field(1, RESOURCE + field(2, field(2, metric)))


def moments(now):
    """Ends of the points, as fine as the engine keeps counts of that age."""
    moment = now - 30 * DAY
    while moment <= now:
        yield moment
        age = now - moment
        if age > 4 * DAY + HOUR:
            moment += HOUR
        elif age > 12 * HOUR + 600:
            moment += 600
        elif age > 2 * HOUR + 60:
            moment += 60
        else:
            moment += 10


class Engine:
    def __init__(self, folder):
        objectives = os.path.join(folder, "slos.yaml")
        with open(objectives, "w", encoding="utf-8") as file:
            file.write("---\n".join(SLO.format(number=number) for number in range(slos)))
        bound = max(20000, slos * series * 5 // 4 + 500)
        line = [engine, "serve", "--listen", "127.0.0.1:0", "--otlp-grpc", "127.0.0.1:0", "--otlp-http", "127.0.0.1:0"]
        line += ["--state", os.path.join(folder, "state"), "--slo", objectives, "--max-series", str(bound)]
        line += ["--evaluation-interval", f"{INTERVAL}s"]
        print("$", " ".join(line))
        self.log = open(os.path.join(folder, "log"), "w+", encoding="utf-8")
        self.process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=self.log, text=True)
        addresses = {}
        for _ in range(3):
            said = self.process.stdout.readline()
            found = re.match(r"listening: (\S+) http://(\S+)", said)
            if not found:
                self.log.seek(0)
                sys.exit(f"bench-slo: the engine did not start: {self.log.read()[-2000:]}")
            addresses[found[1]] = found[2]
        self.web = addresses["web"]
        self.otlp = http.client.HTTPConnection(addresses["otlp-http"])
        self.keeper = self.thread("keeper")

    def thread(self, name):
        tasks = f"/proc/{self.process.pid}/task"
        # A thread gives itself its name once it runs, which may be later than the engine says that it listens.
        for _ in range(100):
            for task in os.listdir(tasks):
                with open(f"{tasks}/{task}/comm", encoding="utf-8") as file:
                    if file.read().strip() == name:
                        return task
            time.sleep(0.05)
        sys.exit(f"bench-slo: the engine has no thread called {name}")

    def cpu(self, task=None):
        """CPU seconds of the process, or of one thread."""
        if task:
            with open(f"/proc/{self.process.pid}/task/{task}/schedstat", encoding="utf-8") as file:
                return int(file.read().split()[0]) / 1e9
        with open(f"/proc/{self.process.pid}/stat", encoding="utf-8") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self, kind="VmRSS"):
        """MiB."""
        with open(f"/proc/{self.process.pid}/status", encoding="utf-8") as file:
            return int(re.search(rf"{kind}:\s+(\d+)", file.read())[1]) / 1024

    def send(self, body):
        self.otlp.request("POST", "/v1/metrics", body, {"Content-Type": "application/x-protobuf"})
        answer = self.otlp.getresponse()
        said = answer.read()
        if answer.status != 200 or said:
            sys.exit(f"bench-slo: refused with {answer.status}: {said[:300]}")

    def figures(self):
        connection = http.client.HTTPConnection(self.web)
        connection.request("GET", "/metrics")
        page = connection.getresponse().read().decode()
        connection.close()

        def read(name):
            return float(re.search(rf"^{name} (\S+)$", page, re.MULTILINE)[1])

        return {
            "rounds": read("pqscope_engine_evaluations_total"),
            "took": read("pqscope_engine_evaluation_duration_seconds"),
            "series": read("pqscope_engine_series"),
            "ok": len(re.findall(r'^pqscope_slo_state_ratio\{.*pqscope_state="ok".*\} 1$', page, re.MULTILINE)),
        }

    def stop(self, how):
        self.process.send_signal(how)
        self.process.wait()
        self.log.close()


def feed(running):
    """A month of history; the bad counters get one event for each thousand."""
    counters = [(list(heads("completed")), 1000)]
    if series == 2:
        counters.append((list(heads("failed")), 1))
    # The tail goes between and behind the heads.
    begun, spent = time.monotonic(), running.cpu()
    points, sent = 0, None
    now = int(time.time()) // 10 * 10
    while sent != now:
        first = sent
        for end in moments(now) if first is None else range(first + 10, now + 1, 10):
            running.send(request(counters, end - 10, end))
            points += slos * series
        sent, now = now, int(time.time()) // 10 * 10
    spent, took = running.cpu() - spent, time.monotonic() - begun
    print(f"history: {points} points in {took:.0f} s, {points / spent:.0f} points per second of CPU")


def measure(running):
    """Rounds of an engine that is left alone: milliseconds of CPU a round, MiB."""
    time.sleep(INTERVAL / 2)
    before, spent = running.figures(), -running.cpu(running.keeper)
    took = []
    for _ in range(rounds):
        time.sleep(INTERVAL)
        took.append(running.figures()["took"] * 1000)
    after = running.figures()
    spent += running.cpu(running.keeper)
    done = after["rounds"] - before["rounds"]
    per_round, resident = 1000 * spent / done, running.memory()
    print(f"series: {after['series']:.0f}; SLOs in state ok: {after['ok']} of {slos}")
    print(f"round, CPU of the keeper: {per_round:.1f} ms a round (mean of {done:.0f})")
    print(f"round, wall: {statistics.median(took):.1f} ms median, {max(took):.1f} ms most")
    print(f"memory: {resident:.0f} MiB resident, {running.memory('VmHWM'):.0f} MiB at the most")
    return per_round, resident


def main():
    with tempfile.TemporaryDirectory() as folder:
        running = Engine(folder)
        try:
            feed(running)
            print("rounds while what came is still being written as a checkpoint, a part each round:")
            fed = measure(running)
            # The last checkpoint is written on the way out: then there is nothing left to do but to evaluate.
            running.stop(signal.SIGTERM)
            begun = time.monotonic()
            running = Engine(folder)
            print(f"started anew in {time.monotonic() - begun:.1f} s; rounds with nothing else to do:")
            quiet = measure(running)
        finally:
            running.stop(signal.SIGKILL)
    if not limits:
        return 0
    holds = quiet[0] < MOST_MILLISECONDS and max(fed[1], quiet[1]) < MOST_MIB
    verdict = "hold" if holds else "DO NOT HOLD"
    print(f"limits of {MOST_MILLISECONDS} ms of CPU a round and {MOST_MIB} MiB {verdict}")
    return 0 if holds else 1


sys.exit(main())
