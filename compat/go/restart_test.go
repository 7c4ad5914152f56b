package compat

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
)

func withGroup(group string) consumer.Option { return consumer.WithGroupName(group) }

// TestRestart kills the broker while a producer sends and a consumer reads: all that was
// acknowledged must come.
func TestRestart(t *testing.T) {
	t.Parallel()
	if os.Getenv(envNamesrv) != "" {
		t.Skip("a cluster that runs already is not restarted")
	}
	b, err := startBroker()
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(b.stderrTail())
		}
		if err := b.stop(); err != nil {
			t.Error(err)
		}
	})
	topic := newTopic(t, b, 4)
	group := unique("cgroup")
	in := &inbox{}
	newPushConsumer(t, b, topic, "*", in, withGroup(group))
	p := newProducer(t, b)

	var acked sync.Map
	var count atomic.Int64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			body := fmt.Sprintf("restart-%d", i)
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
			_, err := p.SendSync(ctx, message(topic, body))
			cancel()
			if err != nil {
				time.Sleep(50 * time.Millisecond)
				continue
			}
			acked.Store(body, true)
			count.Add(1)
			time.Sleep(2 * time.Millisecond)
		}
	}()
	within(t, "200 sends before", func() bool { return count.Load() >= 200 })
	b.kill()
	must(t, b.start())
	before := count.Load()
	within(t, "200 sends after", func() bool { return count.Load() >= before+200 })
	close(stop)
	<-done
	missing := func() []string {
		var out []string
		got := in.bodies()
		acked.Range(func(body, _ any) bool {
			if got[body.(string)] == 0 {
				out = append(out, body.(string))
			}
			return true
		})
		return out
	}
	// The client notices a lost long poll only when its own 30 seconds are over.
	for deadline := time.Now().Add(2 * patience); len(missing()) > 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			lost := missing()
			t.Fatalf("%d of %d acknowledged messages never came, such as %v", len(lost), count.Load(), lost[:min(len(lost), 5)])
		}
	}

	// A new group reads everything from the start of the same data.
	again := &inbox{}
	newPushConsumer(t, b, topic, "*", again)
	within(t, "all of it for a new group", func() bool {
		got, all := again.bodies(), true
		acked.Range(func(body, _ any) bool { all = got[body.(string)] > 0; return all })
		return all
	})
}
