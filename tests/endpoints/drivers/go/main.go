// Go's crypto/tls as one end of a handshake. Commands come on standard input, one JSON object a line; answers and reports
// leave on standard output (../../README.md, "Drivers"). Nothing but the standard library is used, so that nothing is downloaded.
package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"
)

type command struct {
	ID       int      `json:"id"`
	Do       string   `json:"do"`
	Address  string   `json:"address"`
	Name     string   `json:"name"`
	Chain    string   `json:"chain"`
	Key      string   `json:"key"`
	Trust    string   `json:"trust"`
	Groups   []uint16 `json:"groups"`
	Minimum  uint16   `json:"minimum"`
	Maximum  uint16   `json:"maximum"`
	Suites   []uint16 `json:"suites"`
	Alpn     []string `json:"alpn"`
	KeyLog   string   `json:"keylog"`
	Session  string   `json:"session"`
	Tickets  bool     `json:"tickets"`
	Ocsp     string   `json:"ocsp"`
	Serve    int      `json:"serve"`
	Patience int      `json:"patience_ms"`
}

type report struct {
	Port          int     `json:"port"`
	Done          bool    `json:"done"`
	Served        bool    `json:"served"`
	Version       *uint16 `json:"version"`
	Suite         *uint16 `json:"suite"`
	Group         *uint16 `json:"group"`
	Resumed       *bool   `json:"resumed"`
	Retry         *bool   `json:"retry"`
	Alpn          string  `json:"alpn"`
	Peer          []int   `json:"peer"`
	AlertSent     *int    `json:"alert_sent"`
	AlertReceived *int    `json:"alert_received"`
	Error         string  `json:"error"`
}

type answer struct {
	ID      int      `json:"id"`
	Port    int      `json:"port,omitempty"`
	Report  *report  `json:"report,omitempty"`
	Reports []report `json:"reports,omitempty"`
	Error   string   `json:"error,omitempty"`
}

type server struct {
	listener net.Listener
	mutex    sync.Mutex
	reports  []report
	busy     sync.WaitGroup
}

var (
	servers  = map[int]*server{}
	sessions = map[string]tls.ClientSessionCache{}
)

func main() {
	out := json.NewEncoder(os.Stdout)
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var c command
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			_ = out.Encode(answer{Error: err.Error()})
			continue
		}
		reply, err := obey(c)
		reply.ID = c.ID
		if err != nil {
			reply.Error = err.Error()
		}
		_ = out.Encode(reply)
	}
}

func obey(c command) (answer, error) {
	switch c.Do {
	case "serve":
		return serve(c)
	case "connect":
		return connect(c)
	case "stop":
		s := servers[c.Serve]
		delete(servers, c.Serve)
		_ = s.listener.Close()
		s.busy.Wait()
		return answer{Reports: s.reports}, nil
	}
	return answer{}, errors.New("unknown command " + c.Do)
}

// base holds what both sides set. Groups stand in their order of preference for a client; a server of Go has its own order.
func base(c command) (*tls.Config, io.Closer, error) {
	config := &tls.Config{MinVersion: c.Minimum, MaxVersion: c.Maximum, NextProtos: c.Alpn}
	if len(c.Suites) > 0 {
		config.CipherSuites = c.Suites
	}
	for _, group := range c.Groups {
		config.CurvePreferences = append(config.CurvePreferences, tls.CurveID(group))
	}
	if c.Chain != "" {
		pair, err := tls.LoadX509KeyPair(c.Chain, c.Key)
		if err != nil {
			return nil, nil, err
		}
		if c.Ocsp != "" {
			if pair.OCSPStaple, err = os.ReadFile(c.Ocsp); err != nil {
				return nil, nil, err
			}
		}
		config.Certificates = []tls.Certificate{pair}
	}
	log, err := os.OpenFile(c.KeyLog, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	config.KeyLogWriter = log
	return config, log, err
}

func pool(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return roots, err
}

func serve(c command) (answer, error) {
	config, _, err := base(c)
	if err != nil {
		return answer{}, err
	}
	config.SessionTicketsDisabled = !c.Tickets
	if c.Trust != "" {
		if config.ClientCAs, err = pool(c.Trust); err != nil {
			return answer{}, err
		}
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	listener, err := net.Listen("tcp", c.Address)
	if err != nil {
		return answer{}, err
	}
	s := &server{listener: listener}
	servers[c.ID] = s
	go func() {
		for {
			socket, err := listener.Accept()
			if err != nil {
				return
			}
			s.busy.Add(1)
			go func() {
				defer s.busy.Done()
				r := attend(tls.Server(socket, config), socket)
				s.mutex.Lock()
				s.reports = append(s.reports, r)
				s.mutex.Unlock()
			}()
		}
	}()
	return answer{Port: listener.Addr().(*net.TCPAddr).Port}, nil
}

func attend(end *tls.Conn, socket net.Conn) report {
	_ = socket.SetDeadline(time.Now().Add(20 * time.Second))
	r := report{Port: socket.RemoteAddr().(*net.TCPAddr).Port}
	err := end.Handshake()
	if err == nil {
		r.Done = true
		buffer := make([]byte, 4096)
		if _, err = end.Read(buffer); err == nil {
			_, err = io.WriteString(end, "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")
			r.Served = err == nil
		}
	}
	_ = end.Close()
	tell(&r, end.ConnectionState(), err)
	return r
}

func connect(c command) (answer, error) {
	config, log, err := base(c)
	if err != nil {
		return answer{}, err
	}
	defer log.Close()
	config.ServerName = c.Name
	if config.RootCAs, err = pool(c.Trust); err != nil {
		return answer{}, err
	}
	if c.Session != "" {
		if sessions[c.Session] == nil {
			sessions[c.Session] = tls.NewLRUClientSessionCache(4)
		}
		config.ClientSessionCache = sessions[c.Session]
	}
	patience := 20 * time.Second
	if c.Patience > 0 {
		patience = time.Duration(c.Patience) * time.Millisecond
	}
	socket, err := net.DialTimeout("tcp", c.Address, patience)
	if err != nil {
		return answer{}, err
	}
	_ = socket.SetDeadline(time.Now().Add(patience))
	r := report{Port: socket.LocalAddr().(*net.TCPAddr).Port}
	end := tls.Client(socket, config)
	if err = end.Handshake(); err == nil {
		r.Done = true
		if _, err = io.WriteString(end, "GET / HTTP/1.0\r\n\r\n"); err == nil {
			var reply []byte
			reply, err = io.ReadAll(end)
			r.Served = len(reply) > 0
		}
	}
	_ = end.Close()
	tell(&r, end.ConnectionState(), err)
	return answer{Report: &r}, nil
}

// tell adds what the library says of the connection. An error of the library's own making is an alert that it sent; the
// number is told by its text alone.
func tell(r *report, state tls.ConnectionState, err error) {
	if state.Version != 0 {
		r.Version, r.Suite = &state.Version, &state.CipherSuite
		r.Resumed, r.Retry = &state.DidResume, &state.HelloRetryRequest
		r.Alpn = state.NegotiatedProtocol
		if state.CurveID != 0 {
			group := uint16(state.CurveID)
			r.Group = &group
		}
	}
	for _, certificate := range state.PeerCertificates {
		r.Peer = append(r.Peer, len(certificate.Raw))
	}
	if err == nil {
		return
	}
	r.Error = err.Error()
	var operation *net.OpError
	var alert tls.AlertError
	if errors.As(err, &operation) && operation.Op == "remote error" && operation.Err != nil {
		r.AlertReceived = number(operation.Err)
	} else if errors.As(err, &operation) && operation.Op == "local error" {
		r.AlertSent = number(operation.Err)
	} else if errors.As(err, &alert) {
		sent := int(alert)
		r.AlertSent = &sent
	}
}

// number finds the code of an alert whose type is private to the library, by the text of each code.
func number(err error) *int {
	for code := range 256 {
		if strings.TrimPrefix(tls.AlertError(code).Error(), "tls: ") == strings.TrimPrefix(err.Error(), "tls: ") {
			return &code
		}
	}
	return nil
}
