package compat

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/admin"
)

func TestAdmin(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	a := newAdmin(t, shared)
	topic := newTopic(t, shared, 3)
	listed := func() bool {
		list, err := a.FetchAllTopicList(ctx)
		must(t, err)
		return slices.Contains(list.TopicList, topic)
	}
	within(t, "the topic in the list", listed)
	clusters, err := a.FetchClusterList(topic)
	must(t, err)
	if len(clusters) != 1 || clusters[0] == "" {
		t.Errorf("clusters %v", clusters)
	}

	// A group is there once a consumer of it has sent its heartbeat.
	group := unique("cgroup")
	in := &inbox{}
	newPushConsumer(t, shared, topic, "*", in, withGroup(group))
	within(t, "the consumer's group", func() bool {
		groups, err := a.GetAllSubscriptionGroup(ctx, shared.addr, 3*time.Second)
		must(t, err)
		return groups.SubscriptionGroupTable[group].GroupName == group && groups.SubscriptionGroupTable[group].ConsumeEnable
	})

	must(t, a.DeleteTopic(ctx, admin.WithTopicDelete(topic), admin.WithBrokerAddrDelete(shared.addr)))
	within(t, "the topic gone from the list", func() bool { return !listed() })
	if mqs, err := newAdmin(t, shared).FetchPublishMessageQueues(ctx, topic); err == nil && len(mqs) > 0 {
		t.Errorf("the deleted topic still has queues %v", mqs)
	}
}
