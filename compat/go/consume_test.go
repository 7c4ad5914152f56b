package compat

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

func TestTagFilter(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, shared, 4)
	p := newProducer(t, shared)
	var wanted []string
	for i := 0; i < 30; i++ {
		tag := []string{"A", "B", "C"}[i%3]
		body := fmt.Sprintf("%s-%d", tag, i)
		send(t, p, message(topic, body).WithTag(tag))
		if tag != "C" {
			wanted = append(wanted, body)
		}
	}
	in := &inbox{}
	newPushConsumer(t, shared, topic, "A || B", in)
	in.waitExactly(t, wanted)
}

func TestBroadcast(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, shared, 4)
	group := unique("cgroup")
	in := []*inbox{{}, {}}
	for _, each := range in {
		newPushConsumer(t, shared, topic, "*", each, consumer.WithGroupName(group),
			consumer.WithConsumerModel(consumer.BroadCasting))
	}
	p := newProducer(t, shared)
	bodies := numbered("broadcast", 20)
	for _, body := range bodies {
		send(t, p, message(topic, body))
	}
	for _, each := range in {
		each.waitExactly(t, bodies)
	}
}

func TestRetryLater(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, shared, 2)
	p := newProducer(t, shared)
	in := &inbox{decide: func(ctx context.Context, msg *primitive.MessageExt) consumer.ConsumeResult {
		if concurrently, ok := primitive.GetConcurrentlyCtx(ctx); ok {
			concurrently.DelayLevelWhenNextConsume = 1
		}
		if string(msg.Body) == "again" && msg.ReconsumeTimes < 2 {
			return consumer.ConsumeRetryLater
		}
		return consumer.ConsumeSuccess
	}}
	// The broker creates the group's retry topic when the group's first consumer comes. That
	// consumer asks for the topic's route only every 30 seconds, so another one does the work.
	group := unique("cgroup")
	opener := newPushConsumer(t, shared, topic, "*", &inbox{}, withGroup(group))
	a := newAdmin(t, shared)
	within(t, "the group's retry topic", func() bool {
		mqs, err := a.FetchPublishMessageQueues(context.Background(), "%RETRY%"+group)
		return err == nil && len(mqs) == 1
	})
	must(t, opener.Shutdown())
	newPushConsumer(t, shared, topic, "*", in, withGroup(group))
	first := send(t, p, message(topic, "again").WithTag("R").WithKeys([]string{"retry-key"}))
	send(t, p, message(topic, "once"))
	within(t, "three arrivals of the message", func() bool { return in.bodies()["again"] >= 3 })
	var times int32
	for _, got := range in.all() {
		if string(got.Body) != "again" {
			continue
		}
		if got.ReconsumeTimes != times || got.Topic != topic || got.GetTags() != "R" || got.GetKeys() != "retry-key" {
			t.Errorf("arrival %d: times %d topic %q tags %q keys %q", times, got.ReconsumeTimes, got.Topic, got.GetTags(), got.GetKeys())
		}
		if got.MsgId != first.MsgID {
			t.Errorf("arrival %d has id %q, not %q", times, got.MsgId, first.MsgID)
		}
		times++
	}
	if n := in.bodies()["once"]; n != 1 {
		t.Errorf("the other message came %d times", n)
	}
}

func TestGroupSharesQueuesAndTakesOver(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, shared, 4)
	group := unique("cgroup")
	a, b := &inbox{}, &inbox{}
	ca := newPushConsumer(t, shared, topic, "*", a, consumer.WithGroupName(group))
	newPushConsumer(t, shared, topic, "*", b, consumer.WithGroupName(group))
	p := newProducer(t, shared, producer.WithQueueSelector(producer.NewManualQueueSelector()))
	mqs, err := newAdmin(t, shared).FetchPublishMessageQueues(context.Background(), topic)
	must(t, err)
	round := 0
	var sent []string
	// one sends a message to each queue and waits until all came; it returns how many of
	// them reached a and b.
	one := func() (int, int) {
		round++
		for _, mq := range mqs {
			body := fmt.Sprintf("r%d-q%d", round, mq.QueueId)
			msg := message(topic, body)
			msg.Queue = mq
			send(t, p, msg)
			sent = append(sent, body)
		}
		var inA, inB int
		within(t, "a message from each queue", func() bool {
			inA, inB = 0, 0
			atA, atB := a.bodies(), b.bodies()
			both := 0
			for _, mq := range mqs {
				body := fmt.Sprintf("r%d-q%d", round, mq.QueueId)
				inA, inB = inA+min(atA[body], 1), inB+min(atB[body], 1)
				if atA[body] > 0 && atB[body] > 0 {
					both++
				}
			}
			return inA+inB-both >= len(mqs)
		})
		return inA, inB
	}
	within(t, "two queues each", func() bool { inA, inB := one(); return inA == 2 && inB == 2 })
	must(t, ca.Shutdown())
	within(t, "all queues at the one left", func() bool { inA, inB := one(); return inA == 0 && inB == 4 })
	atA, atB := a.bodies(), b.bodies()
	for _, body := range sent {
		if atA[body]+atB[body] == 0 {
			t.Errorf("%q never came", body)
		}
	}
}

func newPullConsumer(t *testing.T, topic string) rocketmq.PullConsumer {
	t.Helper()
	c, err := rocketmq.NewPullConsumer(consumer.WithNsResolver(resolver(shared)), consumer.WithGroupName(unique("cgroup")),
		consumer.WithInstance(unique("instance")), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	must(t, err)
	must(t, c.Subscribe(topic, consumer.MessageSelector{Type: consumer.TAG, Expression: "*"}))
	must(t, c.Start())
	t.Cleanup(func() { _ = c.Shutdown() })
	return c
}

func TestPullConsumerPoll(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, shared, 4)
	p := newProducer(t, shared)
	bodies := numbered("poll", 40)
	for _, body := range bodies {
		send(t, p, message(topic, body))
	}
	c := newPullConsumer(t, topic)
	in := &inbox{}
	within(t, "40 polled messages", func() bool {
		req, err := c.Poll(context.Background(), time.Second)
		if err != nil && !errors.Is(err, consumer.ErrNoNewMsg) {
			t.Fatal(err)
		}
		if err == nil {
			_, _ = in.handle(context.Background(), req.GetMsgList()...)
			c.ACK(context.Background(), req, consumer.ConsumeSuccess)
		}
		return len(in.all()) >= len(bodies)
	})
	in.waitExactly(t, bodies)
}

func TestPullConsumerFromOffset(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, shared, 1)
	p := newProducer(t, shared)
	bodies := numbered("from", 30)
	for _, body := range bodies {
		send(t, p, message(topic, body))
	}
	c := newPullConsumer(t, topic)
	mqs, err := c.GetTopicRouteInfo(topic)
	must(t, err)
	if len(mqs) != 1 {
		t.Fatalf("queues %v", mqs)
	}
	for offset := int64(5); offset < 30; {
		res, err := c.PullFrom(context.Background(), mqs[0], offset, 10)
		must(t, err)
		if res.Status != primitive.PullFound || res.MinOffset != 0 || res.MaxOffset != 30 {
			t.Fatalf("pull at %d: %v", offset, res)
		}
		for _, got := range res.GetMessageExts() {
			if got.QueueOffset != offset || string(got.Body) != bodies[offset] {
				t.Fatalf("at %d came %q of %d", offset, got.Body, got.QueueOffset)
			}
			offset++
		}
		if res.NextBeginOffset != offset {
			t.Fatalf("next %d, want %d", res.NextBeginOffset, offset)
		}
	}
	for _, want := range []struct{ when, offset int64 }{{1000, 0}, {time.Now().Add(time.Hour).UnixMilli(), 30}} {
		got, err := c.OffsetForTimestamp(mqs[0], want.when)
		must(t, err)
		if got != want.offset {
			t.Errorf("offset for time %d is %d, want %d", want.when, got, want.offset)
		}
	}
	res, err := c.PullFrom(context.Background(), mqs[0], 100, 10)
	must(t, err)
	if res.Status != primitive.PullOffsetIllegal || res.NextBeginOffset != 30 {
		t.Errorf("pull beyond the end: %v", res)
	}
}
