// Package compat runs the published Go client of Apache RocketMQ against Kerolox.
package compat

import (
	"context"
	"fmt"
	"math/rand"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/admin"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"
)

// How long a condition may take to come true. Far longer than a healthy broker needs.
const patience = 40 * time.Second

// The client reads this at its start to know where broadcasting consumers keep offsets.
const envOffsets = "rocketmq.client.localOffsetStoreDir"

// shared is the broker that every test but the restart test uses.
var shared *broker

func TestMain(m *testing.M) {
	if os.Getenv(envOffsets) == "" {
		dir, err := os.MkdirTemp("", "kerolox-compat-go-offsets-")
		exe, err2 := os.Executable()
		if err != nil || err2 != nil {
			fmt.Fprintln(os.Stderr, err, err2)
			os.Exit(1)
		}
		err = syscall.Exec(exe, os.Args, append(os.Environ(), envOffsets+"="+dir))
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	defer os.RemoveAll(os.Getenv(envOffsets))
	rlog.SetLogger(quiet{})
	var err error
	if shared, err = startBroker(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if code != 0 {
		fmt.Fprintln(os.Stderr, shared.stderrTail())
	}
	if err := shared.stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	return code
}

// quiet drops what the client logs, unless KEROLOX_TEST_VERBOSE is set.
type quiet struct{}

func say(level, msg string, fields map[string]interface{}) {
	if os.Getenv("KEROLOX_TEST_VERBOSE") != "" {
		fmt.Fprintln(os.Stderr, time.Now().Format("15:04:05.000"), level, msg, fields)
	}
}

func (quiet) Debug(string, map[string]interface{})         {}
func (quiet) Info(msg string, f map[string]interface{})    { say("info", msg, f) }
func (quiet) Warning(msg string, f map[string]interface{}) { say("warning", msg, f) }
func (quiet) Error(msg string, f map[string]interface{})   { say("error", msg, f) }
func (quiet) Fatal(msg string, f map[string]interface{})   { say("fatal", msg, f) }
func (quiet) Level(string)                                 {}
func (quiet) OutputPath(string) error                      { return nil }

var (
	runID   = fmt.Sprintf("%x%04x", time.Now().UnixMilli(), rand.Intn(1<<16))
	counter atomic.Int64
)

// unique makes a topic, group or instance name that no other test or run has.
func unique(kind string) string {
	return fmt.Sprintf("go-%s-%s-%d", kind, runID, counter.Add(1))
}

// within waits until cond holds and fails the test when it doesn't in time.
func within(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func resolver(b *broker) primitive.NsResolver {
	return primitive.NewPassthroughResolver([]string{b.nameSrv})
}

// newTopic creates a topic with that many queues and waits until it has a route.
func newTopic(t *testing.T, b *broker, queues int) string {
	t.Helper()
	topic := unique("topic")
	a := newAdmin(t, b)
	must(t, a.CreateTopic(context.Background(), admin.WithTopicCreate(topic), admin.WithBrokerAddrCreate(b.addr),
		admin.WithReadQueueNums(queues), admin.WithWriteQueueNums(queues)))
	within(t, "the route of the new topic", func() bool {
		mqs, err := a.FetchPublishMessageQueues(context.Background(), topic)
		return err == nil && len(mqs) == queues
	})
	return topic
}

func newAdmin(t *testing.T, b *broker) admin.Admin {
	t.Helper()
	a, err := admin.NewAdmin(admin.WithResolver(resolver(b)))
	must(t, err)
	t.Cleanup(func() { _ = a.Close() })
	return a
}

func newProducer(t *testing.T, b *broker, opts ...producer.Option) rocketmq.Producer {
	t.Helper()
	p, err := rocketmq.NewProducer(append([]producer.Option{
		producer.WithNsResolver(resolver(b)),
		producer.WithGroupName(unique("pgroup")),
		producer.WithInstanceName(unique("instance")),
		producer.WithRetry(2),
	}, opts...)...)
	must(t, err)
	must(t, p.Start())
	t.Cleanup(func() { _ = p.Shutdown() })
	return p
}

// inbox collects what a consumer is handed.
type inbox struct {
	mu   sync.Mutex
	msgs []*primitive.MessageExt
	// decide answers for a message; nil means success.
	decide func(ctx context.Context, msg *primitive.MessageExt) consumer.ConsumeResult
}

func (in *inbox) handle(ctx context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
	result := consumer.ConsumeSuccess
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, msg := range msgs {
		in.msgs = append(in.msgs, msg)
		if in.decide != nil {
			result = in.decide(ctx, msg)
		}
	}
	return result, nil
}

func (in *inbox) all() []*primitive.MessageExt {
	in.mu.Lock()
	defer in.mu.Unlock()
	return append([]*primitive.MessageExt(nil), in.msgs...)
}

// bodies counts how often each body came.
func (in *inbox) bodies() map[string]int {
	counts := map[string]int{}
	for _, msg := range in.all() {
		counts[string(msg.Body)]++
	}
	return counts
}

// waitExactly waits until each body came and fails if one came twice or another came.
func (in *inbox) waitExactly(t *testing.T, want []string) {
	t.Helper()
	within(t, fmt.Sprintf("%d messages", len(want)), func() bool { return len(in.all()) >= len(want) })
	got := in.bodies()
	for _, body := range want {
		if got[body] != 1 {
			t.Errorf("%.40q came %d times", body, got[body])
		}
		delete(got, body)
	}
	for body := range got {
		t.Errorf("unexpected %.40q", body)
	}
}

func newPushConsumer(t *testing.T, b *broker, topic, tags string, in *inbox, opts ...consumer.Option) rocketmq.PushConsumer {
	t.Helper()
	c, err := rocketmq.NewPushConsumer(append([]consumer.Option{
		consumer.WithNsResolver(resolver(b)),
		consumer.WithGroupName(unique("cgroup")),
		consumer.WithInstance(unique("instance")),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
	}, opts...)...)
	must(t, err)
	must(t, c.Subscribe(topic, consumer.MessageSelector{Type: consumer.TAG, Expression: tags}, in.handle))
	must(t, c.Start())
	t.Cleanup(func() { _ = c.Shutdown() })
	return c
}

func send(t *testing.T, p rocketmq.Producer, msgs ...*primitive.Message) *primitive.SendResult {
	t.Helper()
	res, err := p.SendSync(context.Background(), msgs...)
	must(t, err)
	if res.Status != primitive.SendOK || (res.MsgID == "" && len(msgs) == 1) || res.OffsetMsgID == "" || res.MessageQueue == nil {
		t.Fatalf("send result %v", res)
	}
	return res
}

// numbered makes count different bodies.
func numbered(prefix string, count int) []string {
	out := make([]string, count)
	for i := range out {
		out[i] = fmt.Sprintf("%s-%03d", prefix, i)
	}
	return out
}

func message(topic, body string) *primitive.Message {
	return primitive.NewMessage(topic, []byte(body))
}

// afterLast splits "key-007" into key and number.
func afterLast(s string) (string, string) {
	i := strings.LastIndex(s, "-")
	return s[:i], s[i+1:]
}
