package kerolox.compat;

import java.util.Map;
import java.util.Set;
import org.apache.rocketmq.client.QueryResult;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.remoting.protocol.body.CMResult;
import org.apache.rocketmq.remoting.protocol.heartbeat.MessageModel;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** Where the API of 5.5.0 is not that of 4.9.8. */
final class Compat {
    static final Object CONSUMED = CMResult.CR_SUCCESS;

    /** The client then asks for the id as a unique key, and finds none. */
    static final int UNKNOWN_OFFSET_ID = 208;

    private Compat() {}

    static void broadcasting(DefaultMQPushConsumer consumer) {
        consumer.setMessageModel(MessageModel.BROADCASTING);
    }

    static void createGroup(DefaultMQAdminExt admin, String addr, String group, int retries)
            throws Exception {
        SubscriptionGroupConfig config = new SubscriptionGroupConfig();
        config.setGroupName(group);
        config.setRetryMaxTimes(retries);
        admin.createAndUpdateSubscriptionGroupConfig(addr, config);
    }

    static void createTopic(DefaultMQAdminExt admin, String key, String topic, int queues)
            throws Exception {
        admin.createTopic(key, topic, queues, Map.of());
    }

    static void deleteTopicInNameServer(
            DefaultMQAdminExt admin, String addr, String cluster, String topic) throws Exception {
        admin.deleteTopicInNameServer(Set.of(addr), cluster, topic);
    }

    static MessageExt viewByOffsetId(DefaultMQAdminExt admin, String topic, String id)
            throws Exception {
        return admin.viewMessage(topic, id);
    }

    static QueryResult queryByUniqueKey(
            DefaultMQAdminExt admin, String cluster, String topic, String key) throws Exception {
        return admin.queryMessageByUniqKey(cluster, topic, key, 32, 0, Long.MAX_VALUE);
    }
}
