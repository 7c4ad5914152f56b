package compat

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

func TestSendSyncAndConsumeExactly(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, shared, 4)
	p := newProducer(t, shared)
	want := map[string]*primitive.Message{}
	ids := map[string]string{}
	var bodies []string
	for i, body := range append(numbered("sync", 20), "", "héllo wörld ✓ 你好 😀", strings.Repeat("big body ", 20000)) {
		if body == "" {
			body = "\x00\x01\xff\xfe binary"
		}
		msg := message(topic, body).WithTag("täg").WithKeys([]string{fmt.Sprintf("key-%d", i), "schlüssel-钥匙"})
		msg.WithProperty("price", "42")
		msg.WithProperty("naïve ключ", "wert ✓ 值 😀")
		res := send(t, p, msg)
		if res.MessageQueue.Topic != topic {
			t.Errorf("sent to %v", res.MessageQueue)
		}
		want[body], ids[body] = msg, res.MsgID
		bodies = append(bodies, body)
	}
	in := &inbox{}
	newPushConsumer(t, shared, topic, "*", in)
	in.waitExactly(t, bodies)
	for _, got := range in.all() {
		sent := want[string(got.Body)]
		if got.Topic != topic || got.GetTags() != "täg" || got.GetKeys() != sent.GetKeys() {
			t.Errorf("topic %q tags %q keys %q", got.Topic, got.GetTags(), got.GetKeys())
		}
		for _, name := range []string{"price", "naïve ключ"} {
			if got.GetProperty(name) != sent.GetProperty(name) {
				t.Errorf("property %q is %q", name, got.GetProperty(name))
			}
		}
		if got.MsgId != ids[string(got.Body)] {
			t.Errorf("id %q, sent as %q", got.MsgId, ids[string(got.Body)])
		}
		if got.ReconsumeTimes != 0 || got.BornTimestamp == 0 || got.StoreTimestamp == 0 || got.OffsetMsgId == "" {
			t.Errorf("fields %v", got)
		}
	}
}

func TestAutoCreatedTopic(t *testing.T) {
	t.Parallel()
	topic := unique("topic")
	p := newProducer(t, shared)
	bodies := numbered("auto", 8)
	for _, body := range bodies {
		send(t, p, message(topic, body))
	}
	a := newAdmin(t, shared)
	within(t, "a route of the topic", func() bool {
		mqs, err := a.FetchPublishMessageQueues(context.Background(), topic)
		return err == nil && len(mqs) == 4
	})
	in := &inbox{}
	newPushConsumer(t, shared, topic, "*", in)
	in.waitExactly(t, bodies)
}

func TestSendAsync(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, shared, 4)
	p := newProducer(t, shared)
	bodies := numbered("async", 50)
	var wg sync.WaitGroup
	for _, body := range bodies {
		wg.Add(1)
		must(t, p.SendAsync(context.Background(), func(_ context.Context, res *primitive.SendResult, err error) {
			defer wg.Done()
			if err != nil || res.Status != primitive.SendOK {
				t.Errorf("async send: %v %v", res, err)
			}
		}, message(topic, body)))
	}
	wg.Wait()
	in := &inbox{}
	newPushConsumer(t, shared, topic, "*", in)
	in.waitExactly(t, bodies)
}

func TestSendOneWay(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, shared, 4)
	p := newProducer(t, shared)
	bodies := numbered("oneway", 30)
	for _, body := range bodies {
		must(t, p.SendOneWay(context.Background(), message(topic, body)))
	}
	in := &inbox{}
	newPushConsumer(t, shared, topic, "*", in)
	in.waitExactly(t, bodies)
}

func TestSendBatch(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, shared, 4)
	p := newProducer(t, shared)
	bodies := numbered("batch", 25)
	msgs := make([]*primitive.Message, len(bodies))
	for i, body := range bodies {
		msgs[i] = message(topic, body).WithTag(fmt.Sprintf("T%d", i%2)).WithKeys([]string{body})
	}
	res := send(t, p, msgs...)
	if ids := strings.Split(res.OffsetMsgID, ","); len(ids) != len(bodies) {
		t.Errorf("%d ids for %d messages: %s", len(ids), len(bodies), res.OffsetMsgID)
	}
	in := &inbox{}
	newPushConsumer(t, shared, topic, "*", in)
	in.waitExactly(t, bodies)
	for _, got := range in.all() {
		if got.GetKeys() != string(got.Body) || got.Queue.QueueId != res.MessageQueue.QueueId {
			t.Errorf("%q has keys %q and queue %d", got.Body, got.GetKeys(), got.Queue.QueueId)
		}
	}
}

func TestManualQueueSelection(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, shared, 4)
	p := newProducer(t, shared, producer.WithQueueSelector(producer.NewManualQueueSelector()))
	mqs, err := newAdmin(t, shared).FetchPublishMessageQueues(context.Background(), topic)
	must(t, err)
	for _, mq := range mqs {
		for i := int64(0); i < 5; i++ {
			msg := message(topic, fmt.Sprintf("q%d-%03d", mq.QueueId, i))
			msg.Queue = mq
			res := send(t, p, msg)
			if res.MessageQueue.QueueId != mq.QueueId || res.QueueOffset != i {
				t.Errorf("queue %d offset %d, want %d and %d", res.MessageQueue.QueueId, res.QueueOffset, mq.QueueId, i)
			}
		}
	}
	in := &inbox{}
	newPushConsumer(t, shared, topic, "*", in)
	within(t, "20 messages", func() bool { return len(in.all()) >= 20 })
	for _, got := range in.all() {
		if want := fmt.Sprintf("q%d-%03d", got.Queue.QueueId, got.QueueOffset); string(got.Body) != want {
			t.Errorf("%q came as %q", got.Body, want)
		}
	}
}

func TestHashSelectionAndOrderedConsume(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, shared, 4)
	p := newProducer(t, shared, producer.WithQueueSelector(producer.NewHashQueueSelector()))
	keys := []string{"alpha", "beta", "gamma", "delta", "epsilon", "zeta"}
	var bodies []string
	for i := 0; i < 20; i++ {
		for _, key := range keys {
			body := fmt.Sprintf("%s-%03d", key, i)
			send(t, p, message(topic, body).WithShardingKey(key))
			bodies = append(bodies, body)
		}
	}
	in := &inbox{}
	newPushConsumer(t, shared, topic, "*", in, consumer.WithConsumerOrder(true))
	in.waitExactly(t, bodies)
	next, queue := map[string]int{}, map[string]int{}
	for _, got := range in.all() {
		key, number := afterLast(string(got.Body))
		if number != fmt.Sprintf("%03d", next[key]) {
			t.Errorf("%q came when number %d was due", got.Body, next[key])
		}
		if next[key] > 0 && queue[key] != got.Queue.QueueId {
			t.Errorf("%q is in queue %d, others in %d", got.Body, got.Queue.QueueId, queue[key])
		}
		next[key]++
		queue[key] = got.Queue.QueueId
	}
}

func TestDelayLevel(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, shared, 2)
	p := newProducer(t, shared)
	in := &inbox{}
	newPushConsumer(t, shared, topic, "*", in)
	sent := time.Now()
	send(t, p, message(topic, "delayed").WithDelayTimeLevel(1).WithTag("D"))
	send(t, p, message(topic, "at once"))
	within(t, "both messages", func() bool { return len(in.all()) >= 2 })
	took := time.Since(sent)
	got := in.all()
	if string(got[0].Body) != "at once" || string(got[1].Body) != "delayed" {
		t.Errorf("came as %q, %q", got[0].Body, got[1].Body)
	}
	if took < 900*time.Millisecond || took > 10*time.Second {
		t.Errorf("delay level 1 took %v", took)
	}
	if got[1].Topic != topic || got[1].GetTags() != "D" {
		t.Errorf("delayed message has topic %q, tags %q", got[1].Topic, got[1].GetTags())
	}
}

type decisions struct{}

func (decisions) ExecuteLocalTransaction(msg *primitive.Message) primitive.LocalTransactionState {
	if bytes.HasPrefix(msg.Body, []byte("commit")) {
		return primitive.CommitMessageState
	}
	return primitive.RollbackMessageState
}

func (decisions) CheckLocalTransaction(*primitive.MessageExt) primitive.LocalTransactionState {
	return primitive.UnkonwnState
}

func TestTransaction(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, shared, 2)
	p, err := rocketmq.NewTransactionProducer(decisions{}, producer.WithNsResolver(resolver(shared)),
		producer.WithGroupName(unique("pgroup")), producer.WithInstanceName(unique("instance")))
	must(t, err)
	must(t, p.Start())
	t.Cleanup(func() { _ = p.Shutdown() })
	if os.Getenv(envNamesrv) == "" {
		// Kerolox refuses what it does not do yet, rather than to deliver a half message.
		_, err := p.SendMessageInTransaction(context.Background(), message(topic, "commit"))
		if err == nil || !strings.Contains(err.Error(), "CODE: 16") {
			t.Errorf("a half message: %v, want code 16", err)
		}
		return
	}
	var committed []string
	for i := 0; i < 5; i++ {
		for _, kind := range []string{"rollback", "commit"} {
			body := fmt.Sprintf("%s-%d", kind, i)
			res, err := p.SendMessageInTransaction(context.Background(), message(topic, body).WithTag("tx"))
			must(t, err)
			if res.Status != primitive.SendOK {
				t.Errorf("transaction send: %v", res)
			}
			if kind == "commit" {
				committed = append(committed, body)
			}
		}
	}
	in := &inbox{}
	newPushConsumer(t, shared, topic, "tx", in)
	in.waitExactly(t, committed)
}
