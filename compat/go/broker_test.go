package compat

// Starting, killing and stopping the broker under test.

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"time"
)

const (
	envBin     = "KEROLOX_TEST_BIN"
	envNamesrv = "KEROLOX_TEST_NAMESRV"
)

// broker is a Kerolox process started by the tests, or a cluster that already runs
// (then cmd stays nil and it can't be restarted).
type broker struct {
	dir     string
	ports   map[string]int
	cmd     *exec.Cmd
	exited  chan struct{}
	nameSrv string
	addr    string // of the broker itself, as an admin client wants it
}

// startBroker returns the broker to test against: the one named by the environment, or a
// new Kerolox in a temporary directory.
func startBroker() (*broker, error) {
	if ns := os.Getenv(envNamesrv); ns != "" {
		addr, err := clusterBroker(ns)
		if err != nil {
			return nil, fmt.Errorf("asking %s for its broker: %w", ns, err)
		}
		return &broker{nameSrv: ns, addr: addr}, nil
	}
	if os.Getenv(envBin) == "" {
		return nil, fmt.Errorf("set %s to the kerolox binary, or %s to host:port of a running cluster", envBin, envNamesrv)
	}
	dir, err := os.MkdirTemp("", "kerolox-compat-go-")
	if err != nil {
		return nil, err
	}
	b := &broker{dir: dir, ports: map[string]int{}}
	if err := b.start(); err != nil {
		b.stop()
		return nil, err
	}
	return b, nil
}

// start runs the process and waits until it is ready; after kill it starts it again on the
// same data and ports.
func (b *broker) start() error {
	portsFile := filepath.Join(b.dir, "ports.json")
	if err := os.Remove(portsFile); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	args := []string{"server", "--data-dir", filepath.Join(b.dir, "data"), "--ports-file", portsFile}
	for _, name := range []string{"namesrv", "broker", "grpc", "proxy", "http"} {
		args = append(args, "--"+name+"-port", strconv.Itoa(b.ports[name]))
	}
	stderr, err := os.OpenFile(filepath.Join(b.dir, "stderr.txt"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer stderr.Close()
	b.cmd = exec.Command(os.Getenv(envBin), args...)
	b.cmd.Stdout, b.cmd.Stderr = stderr, stderr
	if err := b.cmd.Start(); err != nil {
		b.cmd = nil
		return err
	}
	b.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) {
		_ = cmd.Wait()
		close(exited)
	}(b.cmd, b.exited)

	deadline := time.After(30 * time.Second)
	for {
		if data, err := os.ReadFile(portsFile); err == nil {
			if err := json.Unmarshal(data, &b.ports); err != nil {
				return fmt.Errorf("reading %s: %w", portsFile, err)
			}
			b.nameSrv = fmt.Sprintf("127.0.0.1:%d", b.ports["namesrv"])
			b.addr = fmt.Sprintf("127.0.0.1:%d", b.ports["broker"])
			return nil
		}
		select {
		case <-b.exited:
			return fmt.Errorf("the broker ended before it was ready\n%s", b.stderrTail())
		case <-deadline:
			return fmt.Errorf("the broker was not ready in 30 s\n%s", b.stderrTail())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// kill ends the process at once, as a power cut would.
func (b *broker) kill() {
	_ = b.cmd.Process.Kill()
	<-b.exited
}

// stop ends the process in order and removes its files. It reports whether it was still
// running until then and ended within 20 seconds.
func (b *broker) stop() error {
	if b.dir == "" {
		return nil
	}
	defer os.RemoveAll(b.dir)
	if b.cmd == nil {
		return nil
	}
	select {
	case <-b.exited:
		return fmt.Errorf("the broker had ended by itself\n%s", b.stderrTail())
	default:
	}
	_ = b.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-b.exited:
		return nil
	case <-time.After(20 * time.Second):
		tail := b.stderrTail()
		b.kill()
		return fmt.Errorf("the broker did not end in 20 s after SIGTERM\n%s", tail)
	}
}

func (b *broker) stderrTail() string {
	if b.dir == "" {
		return ""
	}
	data, err := os.ReadFile(filepath.Join(b.dir, "stderr.txt"))
	if err != nil {
		return err.Error()
	}
	if len(data) > 4000 {
		data = data[len(data)-4000:]
	}
	return "end of the broker's stderr:\n" + string(data)
}

// clusterBroker asks a name server for the cluster (request code 106) and takes the first
// broker address of the answer. The client has no public call for it.
func clusterBroker(nameSrv string) (string, error) {
	conn, err := net.DialTimeout("tcp", nameSrv, 3*time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	header := []byte(`{"code":106,"flag":0,"language":"GO","opaque":1,"version":317,"serializeTypeCurrentRPC":"JSON"}`)
	frame := binary.BigEndian.AppendUint32(nil, uint32(4+len(header)))
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(header)))
	if _, err := conn.Write(append(frame, header...)); err != nil {
		return "", err
	}
	var length [4]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return "", err
	}
	answer := make([]byte, binary.BigEndian.Uint32(length[:]))
	if _, err := io.ReadFull(conn, answer); err != nil {
		return "", err
	}
	found := regexp.MustCompile(`\d+:"([0-9.]+:\d+)"|"\d+":"([0-9.]+:\d+)"`).FindSubmatch(answer)
	if found == nil {
		return "", fmt.Errorf("no broker in %q", answer)
	}
	return string(found[1]) + string(found[2]), nil
}
