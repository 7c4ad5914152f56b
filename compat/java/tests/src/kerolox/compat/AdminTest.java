package kerolox.compat;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Duration;
import java.util.List;
import java.util.Set;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.MessageQueue;
import org.junit.jupiter.api.Test;

class AdminTest extends CompatTest {
    @Test
    void clusterInfo() throws Exception {
        brokerAddr();
        var cluster = admin().examineBrokerClusterInfo();
        assertEquals(1, cluster.getClusterAddrTable().size());
        String name = clusterName();
        assertEquals(
                cluster.getBrokerAddrTable().keySet(), cluster.getClusterAddrTable().get(name));
        var broker = cluster.getBrokerAddrTable().values().iterator().next();
        assertEquals(name, broker.getCluster());
        assertEquals(Set.of(0L), broker.getBrokerAddrs().keySet());
    }

    @Test
    void topicIsCreatedAndChanged() throws Exception {
        String topic = unique("topic");
        createTopic(topic, 3);
        assertTopic(topic, 3, 3, READ_WRITE);
        admin().createAndUpdateTopicConfig(brokerAddr(), new TopicConfig(topic, 8, 6, 4));
        Await.until("the change at the name server",
                () -> admin().examineTopicRouteInfo(topic).getQueueDatas().get(0).getPerm() == 4);
        assertTopic(topic, 8, 6, 4);

        String byClient = unique("topic");
        Compat.createTopic(admin(), clusterName(), byClient, 5);
        awaitRoute(byClient);
        assertTopic(byClient, 5, 5, READ_WRITE);
    }

    @Test
    void routeOfATopic() throws Exception {
        String topic = topic(4);
        var route = admin().examineTopicRouteInfo(topic);
        assertEquals(1, route.getBrokerDatas().size());
        var broker = route.getBrokerDatas().get(0);
        assertEquals(clusterName(), broker.getCluster());
        assertEquals(brokerAddr(), broker.getBrokerAddrs().get(0L));
        assertEquals(broker.getBrokerName(), route.getQueueDatas().get(0).getBrokerName());

        assertEquals(17, codeOf(() -> admin().examineTopicRouteInfo(unique("unknown"))));
    }

    @Test
    void topicsAreListed() throws Exception {
        String topic = topic(1);
        assertTrue(admin().fetchAllTopicList().getTopicList().contains(topic));
        assertTrue(admin().fetchTopicsByCLuster(clusterName()).getTopicList().contains(topic));
        var table = admin().getAllTopicConfig(brokerAddr(), 5000).getTopicConfigTable();
        assertEquals(1, table.get(topic).getReadQueueNums());
        assertNotNull(admin().getAllTopicConfig(brokerAddr(), 5000).getDataVersion());
        var user = admin().getUserTopicConfig(brokerAddr(), false, 5000).getTopicConfigTable();
        assertTrue(user.containsKey(topic));
        assertFalse(user.containsKey("SCHEDULE_TOPIC_XXXX"));
        user.keySet().forEach(name -> assertFalse(name.startsWith("%RETRY%"), name));
    }

    @Test
    void topicStats() throws Exception {
        String topic = topic(2);
        DefaultMQProducer producer = producer();
        MessageQueue queue = producer.fetchPublishMessageQueues(topic).get(1);
        long start = System.currentTimeMillis();
        for (String body : names("m", 7)) {
            assertSent(producer.send(message(topic, body), queue));
        }
        readAll(topic, 7);
        var table = admin().examineTopicStats(topic).getOffsetTable();
        assertEquals(2, table.size());
        for (var entry : table.entrySet()) {
            boolean used = entry.getKey().getQueueId() == queue.getQueueId();
            assertEquals(0, entry.getValue().getMinOffset());
            assertEquals(used ? 7 : 0, entry.getValue().getMaxOffset());
            if (used) {
                assertTrue(entry.getValue().getLastUpdateTimestamp() >= start);
            }
        }
    }

    @Test
    void topicIsDeleted() throws Exception {
        String topic = topic(2);
        send(producer(), topic, names("m", 10));
        admin().deleteTopicInBroker(Set.of(brokerAddr()), topic);
        Compat.deleteTopicInNameServer(admin(), BROKER.namesrv(), clusterName(), topic);
        Await.until("no route", () -> codeOf(() -> admin().examineTopicRouteInfo(topic)) == 17);
        assertFalse(admin().fetchAllTopicList().getTopicList().contains(topic));
        assertNull(admin().getAllTopicConfig(brokerAddr(), 5000).getTopicConfigTable().get(topic));

        // Made again, it is empty.
        createTopic(topic, 2);
        Await.until("an empty topic", () -> readAll(topic).isEmpty());
        send(producer(), topic, List.of("new"));
        assertEquals(List.of("new"), Sink.bodies(readAll(topic, 1)));
    }

    @Test
    void subscriptionGroups() throws Exception {
        String group = unique("group");
        Compat.createGroup(admin(), brokerAddr(), group, 5);
        var config = admin().examineSubscriptionGroupConfig(brokerAddr(), group);
        assertEquals(group, config.getGroupName());
        assertEquals(5, config.getRetryMaxTimes());
        assertTrue(config.isConsumeEnable());
        var all = admin().getAllSubscriptionGroup(brokerAddr(), 5000);
        assertEquals(5, all.getSubscriptionGroupTable().get(group).getRetryMaxTimes());
        Compat.createGroup(admin(), brokerAddr(), group, 9);
        assertEquals(9, admin().examineSubscriptionGroupConfig(brokerAddr(), group)
                .getRetryMaxTimes());

        admin().deleteSubscriptionGroup(brokerAddr(), group);
        // Apache RocketMQ 5.5.0 makes it again, with the values of every new group.
        var again = admin().getAllSubscriptionGroup(brokerAddr(), 5000)
                .getSubscriptionGroupTable().get(group);
        assertTrue(again == null || again.getRetryMaxTimes() == 16);
    }

    @Test
    void groupOfAConsumerIsCreated() throws Exception {
        String topic = topic(1);
        String group = unique("group");
        consume(group, topic, "*", new Sink());
        Await.until("the group", () -> admin().getAllSubscriptionGroup(brokerAddr(), 5000)
                .getSubscriptionGroupTable().containsKey(group));
        awaitRoute("%RETRY%" + group);
        assertTopic("%RETRY%" + group, 1, 1, READ_WRITE);
    }

    @Test
    void consumeStats() throws Exception {
        String topic = topic(2);
        String group = unique("group");
        Sink sink = new Sink();
        DefaultMQPushConsumer consumer = consume(group, topic, "*", sink);
        send(producer(), topic, names("m", 20));
        sink.awaitExactly(names("m", 20));
        consumer.shutdown();
        send(producer(), topic, names("more", 6));
        readAll(topic, 26);

        var stats = admin().examineConsumeStats(group, topic);
        assertEquals(2, stats.getOffsetTable().size());
        assertEquals(6, stats.computeTotalDiff());
        long consumed = 0;
        for (var entry : stats.getOffsetTable().entrySet()) {
            assertEquals(topic, entry.getKey().getTopic());
            consumed += entry.getValue().getConsumerOffset();
            assertTrue(entry.getValue().getLastTimestamp() > 0);
        }
        assertEquals(20, consumed);
        var groups = admin().queryTopicConsumeByWho(topic).getGroupList();
        assertTrue(groups.contains(group), "groups of the topic: " + groups);
    }

    @Test
    void connections() throws Exception {
        String topic = topic(1);
        String group = unique("group");
        Sink sink = new Sink();
        DefaultMQPushConsumer consumer = consume(group, topic, "A || B", sink);
        findRetryTopic(consumer);
        DefaultMQProducer producer = producer();
        send(producer, topic, List.of("m"));

        var consumers = Await.answer("the consumer",
                () -> admin().examineConsumerConnectionInfo(group));
        assertEquals(1, consumers.getConnectionSet().size());
        var connection = consumers.getConnectionSet().iterator().next();
        assertEquals(consumer.buildMQClientId(), connection.getClientId());
        assertTrue(connection.getClientAddr().startsWith("127.0.0.1:"));
        assertEquals("JAVA", connection.getLanguage().name());
        assertEquals("CLUSTERING", consumers.getMessageModel().name());
        assertEquals("CONSUME_PASSIVELY", consumers.getConsumeType().name());
        assertEquals("CONSUME_FROM_FIRST_OFFSET", consumers.getConsumeFromWhere().name());
        assertEquals(Set.of(topic, "%RETRY%" + group), consumers.getSubscriptionTable().keySet());
        assertEquals(Set.of("A", "B"), consumers.getSubscriptionTable().get(topic).getTagsSet());

        var producers = Await.answer("the producer", () -> admin()
                .examineProducerConnectionInfo(producer.getProducerGroup(), topic));
        assertEquals(Set.of(producer.buildMQClientId()), Set.copyOf(producers.getConnectionSet()
                .stream().map(c -> c.getClientId()).toList()));

        consumer.shutdown();
        Await.until("no consumer",
                () -> codeOf(() -> admin().examineConsumerConnectionInfo(group)) == 206);
    }

    @Test
    void runningInfoOfAConsumer() throws Exception {
        String topic = topic(2);
        String group = unique("group");
        Sink sink = new Sink();
        DefaultMQPushConsumer consumer = consume(group, topic, "*", sink);
        send(producer(), topic, names("m", 4));
        sink.awaitExactly(names("m", 4));
        var info = admin().getConsumerRunningInfo(group, consumer.buildMQClientId(), false);
        assertEquals(2, info.getMqTable().keySet().stream()
                .filter(queue -> queue.getTopic().equals(topic)).count());
        assertTrue(info.getSubscriptionSet().stream()
                .anyMatch(data -> data.getTopic().equals(topic)));
        assertEquals("CONSUME_PASSIVELY", info.getProperties().get("PROP_CONSUME_TYPE").toString());
    }

    @Test
    void messageIsConsumedDirectly() throws Exception {
        String topic = topic(1);
        String group = unique("group");
        Sink sink = new Sink();
        DefaultMQPushConsumer consumer = consume(group, topic, "*", sink);
        var sent = assertSent(producer().send(message(topic, "m")));
        sink.awaitExactly(List.of("m"));
        var result = admin().consumeMessageDirectly(
                group, consumer.buildMQClientId(), topic, sent.getOffsetMsgId());
        assertEquals(Compat.CONSUMED, result.getConsumeResult());
        sink.awaitExactly(List.of("m", "m"));
    }

    @Test
    void offsetsAreResetForARunningConsumer() throws Exception {
        String topic = topic(2);
        String group = unique("group");
        Sink sink = new Sink();
        List<String> bodies = names("m", 10);
        DefaultMQProducer producer = producer();
        send(producer, topic, bodies);
        DefaultMQPushConsumer consumer = consume(group, topic, "*", sink);
        sink.awaitExactly(bodies);
        var offsets = admin().resetOffsetByTimestamp(topic, group, 0, true);
        assertEquals(2, offsets.size());
        offsets.values().forEach(offset -> assertEquals(0, offset));
        // Whatever the way, the client begins anew only after ten seconds and a rebalance; and
        // Apache RocketMQ tells it in the answer to a pull, which may be parked.
        for (MessageQueue queue : producer.fetchPublishMessageQueues(topic)) {
            assertSent(producer.send(message(topic, "more"), queue));
        }
        Await.until("all messages again", Duration.ofSeconds(60), () -> {
            consumer.getDefaultMQPushConsumerImpl().doRebalance();
            return sink.bodies().stream().filter(bodies::contains).count() >= 20;
        });
        sink.awaitAll(List.of("more"));
        assertEquals(concat(bodies, bodies).stream().sorted().toList(), sink.bodies().stream()
                .filter(bodies::contains).sorted().toList());
    }

    @Test
    void offsetOfAGroupIsUpdated() throws Exception {
        String topic = topic(1);
        String group = unique("group");
        List<String> bodies = names("m", 10);
        send(producer(), topic, bodies);
        readAll(topic, 10);
        MessageQueue queue =
                producer().fetchPublishMessageQueues(topic).iterator().next();
        Compat.createGroup(admin(), brokerAddr(), group, 3);
        admin().updateConsumeOffset(brokerAddr(), group, queue, 7);
        Sink sink = new Sink();
        consume(group, topic, "*", sink);
        sink.awaitExactly(bodies.subList(7, 10));
    }

    @Test
    void offsetsOfQueues() throws Exception {
        String topic = topic(1);
        DefaultMQProducer producer = producer();
        send(producer, topic, names("m", 5));
        readAll(topic, 5);
        MessageQueue queue = producer.fetchPublishMessageQueues(topic).get(0);
        assertEquals(0, admin().minOffset(queue));
        assertEquals(5, admin().maxOffset(queue));
        assertEquals(0, admin().searchOffset(queue, 0));
        assertEquals(5, producer.maxOffset(queue));
        assertTrue(admin().earliestMsgStoreTime(queue) > 0);
    }

    private void assertTopic(String topic, int read, int write, int perm) throws Exception {
        var route = admin().examineTopicRouteInfo(topic).getQueueDatas();
        assertEquals(1, route.size());
        assertEquals(read, route.get(0).getReadQueueNums());
        assertEquals(write, route.get(0).getWriteQueueNums());
        assertEquals(perm, route.get(0).getPerm());
        TopicConfig config = admin().examineTopicConfig(brokerAddr(), topic);
        assertEquals(topic, config.getTopicName());
        assertEquals(read, config.getReadQueueNums());
        assertEquals(write, config.getWriteQueueNums());
        assertEquals(perm, config.getPerm());
    }
}
