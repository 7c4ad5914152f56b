//! What codes mean. Needs no server.

use anyhow::{Result, bail};
use serde::Serialize;
use serde_json::json;

use super::Run;
use crate::admin::Admin;
use crate::out::{Cell, Column, Out};

/// Options of `explain`.
#[derive(Debug, clap::Args)]
pub struct Explain {
    /// A number, or a name; without it: all
    #[arg(allow_hyphen_values = true)]
    code: Option<String>,
}

/// A code with which a server answers.
#[derive(Debug, Serialize)]
struct Response {
    code: i32,
    name: &'static str,
    meaning: &'static str,
    cause: &'static str,
    remedy: &'static str,
}

const LIST: [Column; 3] = [
    Column::right("#Code", "code", 7).gap(2),
    Column::left("#Name", "name", 42),
    Column::left("#Meaning", "meaning", 0),
];

impl Run for Explain {
    async fn run(self, _: &Admin, out: &mut Out) -> Result<()> {
        match self.code {
            Some(code) => explain(code.trim(), out),
            None => {
                list(out);
                Ok(())
            }
        }
    }
}

/// A number may be that of an answer and that of a request.
fn explain(asked: &str, out: &mut Out) -> Result<()> {
    let number: Option<i32> = asked.parse().ok();
    let is_asked = |code: i32, name: &str| number == Some(code) || name.eq_ignore_ascii_case(asked);
    let response = RESPONSES.iter().find(|response| is_asked(response.code, response.name));
    let request = REQUESTS.iter().find(|(code, name)| is_asked(*code, name));
    if response.is_none() && request.is_none() {
        bail!("RocketMQ has no code {asked:?}; explain without a code lists all");
    }
    if let Some(response) = response {
        out.line(format!("{} {}", response.code, response.name));
        out.line(format!("  Meaning: {}", response.meaning));
        out.line(format!("  Cause:   {}", response.cause));
        out.line(format!("  Remedy:  {}", response.remedy));
    }
    if let Some((code, name)) = request {
        out.line(format!("{code} as the code of a request: {name}"));
    }
    let request = request.map(|(code, name)| json!({"code": code, "name": name}));
    out.value(json!({"response": response, "request": request}));
    Ok(())
}

fn list(out: &mut Out) {
    let responses: Vec<Vec<Cell>> =
        RESPONSES.iter().map(|r| vec![r.code.into(), r.name.into(), r.meaning.into()]).collect();
    let requests: Vec<Vec<Cell>> =
        REQUESTS.iter().map(|(code, name)| vec![(*code).into(), (*name).into()]).collect();
    if out.is_json() {
        out.value(json!({
            "responses": RESPONSES,
            "requests": crate::out::list(&LIST[..2], &requests),
        }));
        return;
    }
    out.line("Codes of answers");
    out.table(&LIST, &responses);
    out.line("");
    out.line("Codes of requests");
    out.table(&LIST[..2], &requests);
}

/// By number, those of inner requests last.
const RESPONSES: &[Response] = &[
    Response {
        code: 0,
        name: "SUCCESS",
        meaning: "The request was done.",
        cause: "-",
        remedy: "Nothing.",
    },
    Response {
        code: 1,
        name: "SYSTEM_ERROR",
        meaning: "The server failed, or could not read the request; the remark says at what.",
        cause: "A fault of the server, a missing or broken header field, or something that is asked of the wrong process.",
        remedy: "Read the remark, then the server's log at that time.",
    },
    Response {
        code: 2,
        name: "SYSTEM_BUSY",
        meaning: "The server has more to do than it can and refused at once.",
        cause: "Sends come faster than the disk takes them, or requests waited too long in a queue.",
        remedy: "Send again after a short pause; look at the disk's latency and at the load of each broker (clusterList).",
    },
    Response {
        code: 3,
        name: "REQUEST_CODE_NOT_SUPPORTED",
        meaning: "The server does not know the request.",
        cause: "The request went to the wrong process (broker or name server), or the server is of an older release or lacks this feature.",
        remedy: "Check the address and port, then the server's version (brokerStatus).",
    },
    Response {
        code: 4,
        name: "TRANSACTION_FAILED",
        meaning: "A transaction could not be ended as was asked.",
        cause: "A fault while the transaction's state was written.",
        remedy: "The broker asks the producer again later; see that its check of local transactions answers.",
    },
    Response {
        code: 10,
        name: "FLUSH_DISK_TIMEOUT",
        meaning: "The message is stored, but not known to be on the disk in time.",
        cause: "The disk is slow, or syncFlushTimeout is short.",
        remedy: "Treat the message as sent perhaps: sending it again may store it twice. Look at the disk.",
    },
    Response {
        code: 11,
        name: "SLAVE_NOT_AVAILABLE",
        meaning: "The message is stored on the master, but no slave takes part.",
        cause: "brokerRole is SYNC_MASTER and no slave is connected, or all are far behind.",
        remedy: "Start the slave, or see why it is behind.",
    },
    Response {
        code: 12,
        name: "FLUSH_SLAVE_TIMEOUT",
        meaning: "The message is stored on the master, but no slave confirmed it in time.",
        cause: "The slave or the network between is slow.",
        remedy: "Treat the message as sent perhaps. Look at the slave's disk and the network.",
    },
    Response {
        code: 13,
        name: "MESSAGE_ILLEGAL",
        meaning: "The message cannot be stored as it is.",
        cause: "Its body or properties are too large, or the topic's name is too long or has characters that are not allowed.",
        remedy: "Make it smaller, or raise maxMessageSize at the broker and in the client; correct the name.",
    },
    Response {
        code: 14,
        name: "SERVICE_NOT_AVAILABLE",
        meaning: "The broker takes no messages at this time.",
        cause: "Its disk is full, it is shutting down or starting, or it is a slave.",
        remedy: "Look at its free disk space and its log; producers go on with other brokers by themselves.",
    },
    Response {
        code: 15,
        name: "VERSION_NOT_SUPPORTED",
        meaning: "The broker cannot do this in its version.",
        cause: "Client and broker are of releases that do not go together.",
        remedy: "Upgrade the older one of the two.",
    },
    Response {
        code: 16,
        name: "NO_PERMISSION",
        meaning: "What was asked is not allowed here.",
        cause: "The topic or broker may not be read or written (perm, brokerPermission, wipeWritePerm), the group is off, the topic is the system's own, or the configuration key cannot be changed while the broker runs.",
        remedy: "Read the remark; look at topicRoute (perm) and getBrokerConfig; change it with updateTopicPerm, addWritePerm or updateSubGroup.",
    },
    Response {
        code: 17,
        name: "TOPIC_NOT_EXIST",
        meaning: "The server knows no such topic.",
        cause: "It was not created, its name is misspelt, or no broker that holds it is registered with this name server.",
        remedy: "Check the name (topicList) and the name server's address; create it with updateTopic.",
    },
    Response {
        code: 18,
        name: "TOPIC_EXIST_ALREADY",
        meaning: "The topic is there already.",
        cause: "It was created before.",
        remedy: "Nothing, or change it with updateTopic.",
    },
    Response {
        code: 19,
        name: "PULL_NOT_FOUND",
        meaning: "There is no message at this offset yet.",
        cause: "The consumer has read all there is.",
        remedy: "Nothing: clients ask again by themselves.",
    },
    Response {
        code: 20,
        name: "PULL_RETRY_IMMEDIATELY",
        meaning: "No message matched, or the broker wants to be asked again at once.",
        cause: "The filter (tag, SQL) let nothing through, or the message is on the disk of another replica.",
        remedy: "Nothing: clients ask again by themselves. If it never ends, look at the subscription's tags.",
    },
    Response {
        code: 21,
        name: "PULL_OFFSET_MOVED",
        meaning: "The offset is outside the queue.",
        cause: "What was to be read is deleted (too old), or the queue is younger than the offset.",
        remedy: "Clients go on at the nearest offset. If messages were lost unread, consume faster or raise fileReservedTime.",
    },
    Response {
        code: 22,
        name: "QUERY_NOT_FOUND",
        meaning: "What was asked for is not there.",
        cause: "No offset was committed for the group, no message has the key or id, or the name server has no such value.",
        remedy: "Check the names; for a new group it is as it should be.",
    },
    Response {
        code: 23,
        name: "SUBSCRIPTION_PARSE_FAILED",
        meaning: "The filter expression cannot be read.",
        cause: "A fault in the tags or in the SQL92 expression.",
        remedy: "Correct the expression: tags with || between, or SQL92.",
    },
    Response {
        code: 24,
        name: "SUBSCRIPTION_NOT_EXIST",
        meaning: "The broker does not know what the group subscribes to.",
        cause: "The consumer's heartbeat has not arrived yet, or it does not subscribe to this topic.",
        remedy: "Wait for the next heartbeat (30 s); see that all consumers of a group subscribe to the same topics (consumerConnection).",
    },
    Response {
        code: 25,
        name: "SUBSCRIPTION_NOT_LATEST",
        meaning: "The broker knows an older subscription than the consumer.",
        cause: "It was changed and the heartbeat is still under way.",
        remedy: "Nothing: it settles with the next heartbeat.",
    },
    Response {
        code: 26,
        name: "SUBSCRIPTION_GROUP_NOT_EXIST",
        meaning: "The broker knows no such consumer group.",
        cause: "It was not created and autoCreateSubscriptionGroup is off, or its name is misspelt.",
        remedy: "Create it with updateSubGroup on every broker of the topic.",
    },
    Response {
        code: 27,
        name: "FILTER_DATA_NOT_EXIST",
        meaning: "The broker has no filter data of the consumer.",
        cause: "It subscribes with an expression, and the broker was restarted or has not heard of it.",
        remedy: "Nothing: the next heartbeat brings it.",
    },
    Response {
        code: 28,
        name: "FILTER_DATA_NOT_LATEST",
        meaning: "The broker's filter data is older than the subscription.",
        cause: "The expression was changed.",
        remedy: "Nothing: the next heartbeat brings it.",
    },
    Response {
        code: 29,
        name: "INVALID_PARAMETER",
        meaning: "A value of the request is not allowed.",
        cause: "A name with characters that are not allowed, a number out of range, or an unknown configuration key.",
        remedy: "Read the remark and correct the value.",
    },
    Response {
        code: 200,
        name: "TRANSACTION_SHOULD_COMMIT",
        meaning: "The transaction is to be committed.",
        cause: "The answer of a check of its state.",
        remedy: "Nothing.",
    },
    Response {
        code: 201,
        name: "TRANSACTION_SHOULD_ROLLBACK",
        meaning: "The transaction is to be rolled back.",
        cause: "The answer of a check of its state.",
        remedy: "Nothing.",
    },
    Response {
        code: 202,
        name: "TRANSACTION_STATE_UNKNOW",
        meaning: "The state of the transaction is not known yet.",
        cause: "The producer's check said so.",
        remedy: "Nothing: the broker asks again. See that the check answers in the end.",
    },
    Response {
        code: 203,
        name: "TRANSACTION_STATE_GROUP_WRONG",
        meaning: "The transaction belongs to another producer group.",
        cause: "A producer ended a transaction that is not its own group's.",
        remedy: "Use one group name for all producers of these transactions.",
    },
    Response {
        code: 204,
        name: "NO_BUYER_ID",
        meaning: "The message lacks the buyer's id.",
        cause: "Left from an older release; no broker of today asks for it.",
        remedy: "Upgrade the broker.",
    },
    Response {
        code: 205,
        name: "NOT_IN_CURRENT_UNIT",
        meaning: "The message belongs to another unit.",
        cause: "The cluster is divided into units, and the producer sends to the wrong one.",
        remedy: "Correct the producer's unit.",
    },
    Response {
        code: 206,
        name: "CONSUMER_NOT_ONLINE",
        meaning: "No consumer of the group is connected to this broker.",
        cause: "None runs, none subscribes to a topic of this broker, or the group's name is misspelt.",
        remedy: "Start one, or check the name (consumerConnection).",
    },
    Response {
        code: 207,
        name: "CONSUME_MSG_TIMEOUT",
        meaning: "The consumer did not answer the broker in time.",
        cause: "It hangs, its handler takes long, or its language does not know the question.",
        remedy: "Look at that consumer's process; take its stack with consumerStatus.",
    },
    Response {
        code: 208,
        name: "NO_MESSAGE",
        meaning: "There is no such message.",
        cause: "It is deleted, or the id or offset is wrong.",
        remedy: "Check the id; see how long messages are kept (fileReservedTime).",
    },
    Response {
        code: 209,
        name: "POLLING_FULL",
        meaning: "Too many consumers wait at the broker already.",
        cause: "POP requests that wait (long polling) reached maxPopPollingSize.",
        remedy: "Use fewer consumers or more brokers, or raise the limit.",
    },
    Response {
        code: 210,
        name: "POLLING_TIMEOUT",
        meaning: "No message came within the wait.",
        cause: "There is nothing to read.",
        remedy: "Nothing: clients ask again by themselves.",
    },
    Response {
        code: 211,
        name: "BROKER_NOT_EXIST",
        meaning: "No such broker is known.",
        cause: "It is not registered, or its name is misspelt.",
        remedy: "Check the name (clusterList); see that the broker runs and reaches the name server.",
    },
    Response {
        code: 212,
        name: "BROKER_DISPATCH_NOT_COMPLETE",
        meaning: "The broker has not indexed all its messages yet.",
        cause: "It has just started, or its index is behind the log.",
        remedy: "Ask again later; look at dispatchBehindBytes (brokerStatus).",
    },
    Response {
        code: 213,
        name: "BROADCAST_CONSUMPTION",
        meaning: "This cannot be said of a broadcasting group.",
        cause: "Each of its consumers has offsets of its own, which the broker does not know.",
        remedy: "Look at the consumers themselves.",
    },
    Response {
        code: 215,
        name: "FLOW_CONTROL",
        meaning: "The request was put off to protect the server.",
        cause: "A limit of requests was reached.",
        remedy: "Send less, or again after a pause.",
    },
    Response {
        code: 501,
        name: "NOT_LEADER_FOR_QUEUE",
        meaning: "The broker does not lead this queue of a static topic.",
        cause: "The queue was moved to another broker.",
        remedy: "Nothing: clients renew their route. If it lasts, look at the static topic's mapping.",
    },
    Response {
        code: 604,
        name: "ILLEGAL_OPERATION",
        meaning: "What was asked makes no sense here.",
        cause: "The request does not fit the state or the kind of topic or message.",
        remedy: "Read the remark.",
    },
    Response {
        code: 1500,
        name: "GO_AWAY",
        meaning: "The server ends and wants the client to connect elsewhere.",
        cause: "It is shutting down in order.",
        remedy: "Nothing: clients connect again by themselves.",
    },
    Response {
        code: -1000,
        name: "RPC_UNKNOWN",
        meaning: "An inner request failed for an unknown reason.",
        cause: "A fault inside the client or the server that handed the request on.",
        remedy: "Look at the log of the process that handed it on.",
    },
    Response {
        code: -1002,
        name: "RPC_ADDR_IS_NULL",
        meaning: "An inner request had no address.",
        cause: "The broker that is meant is not known, or has no master.",
        remedy: "See that it is registered (clusterList).",
    },
    Response {
        code: -1004,
        name: "RPC_SEND_TO_CHANNEL_FAILED",
        meaning: "An inner request could not be sent.",
        cause: "The connection broke, or was not made.",
        remedy: "See that the other side runs and can be reached.",
    },
    Response {
        code: -1006,
        name: "RPC_TIME_OUT",
        meaning: "An inner request was not answered in time.",
        cause: "The other side is slow, or does not run.",
        remedy: "Look at its load and its log.",
    },
    Response {
        code: 2000,
        name: "CONTROLLER_FENCED_MASTER_EPOCH",
        meaning: "The master's epoch is out of date.",
        cause: "Another master was elected meanwhile.",
        remedy: "Nothing: the broker learns its new role. See that it reaches the controller.",
    },
    Response {
        code: 2001,
        name: "CONTROLLER_FENCED_SYNC_STATE_SET_EPOCH",
        meaning: "The set of replicas in step is out of date.",
        cause: "It changed meanwhile.",
        remedy: "Nothing: the broker asks for the new one.",
    },
    Response {
        code: 2002,
        name: "CONTROLLER_INVALID_MASTER",
        meaning: "The broker is not the master that the controller knows.",
        cause: "Another one was elected.",
        remedy: "Nothing: the broker learns its new role.",
    },
    Response {
        code: 2003,
        name: "CONTROLLER_INVALID_REPLICAS",
        meaning: "The replicas named do not fit those known.",
        cause: "A broker id that the controller does not know.",
        remedy: "See that every replica is registered with the controller.",
    },
    Response {
        code: 2004,
        name: "CONTROLLER_MASTER_NOT_AVAILABLE",
        meaning: "There is no master now.",
        cause: "The old one is gone and none could be elected.",
        remedy: "Start a replica that is in step, or elect one with electMaster.",
    },
    Response {
        code: 2005,
        name: "CONTROLLER_INVALID_REQUEST",
        meaning: "The controller cannot make sense of the request.",
        cause: "Fields are missing, or do not fit each other.",
        remedy: "Read the remark.",
    },
    Response {
        code: 2006,
        name: "CONTROLLER_BROKER_NOT_ALIVE",
        meaning: "The broker is not alive for the controller.",
        cause: "Its heartbeats do not arrive.",
        remedy: "Start it, or see that it reaches the controller.",
    },
    Response {
        code: 2007,
        name: "CONTROLLER_NOT_LEADER",
        meaning: "This controller does not lead.",
        cause: "Another one of the group does.",
        remedy: "Nothing: brokers find the leader. By hand, ask getControllerMetaData who it is.",
    },
    Response {
        code: 2008,
        name: "CONTROLLER_BROKER_METADATA_NOT_EXIST",
        meaning: "The controller knows nothing of this broker.",
        cause: "It never registered, or its data was cleaned.",
        remedy: "Check the names of cluster and broker; start the broker.",
    },
    Response {
        code: 2009,
        name: "CONTROLLER_INVALID_CLEAN_BROKER_METADATA",
        meaning: "The broker's data cannot be cleaned.",
        cause: "It is alive, or it is the master.",
        remedy: "Stop it first, then clean.",
    },
    Response {
        code: 2010,
        name: "CONTROLLER_BROKER_NEED_TO_BE_REGISTERED",
        meaning: "The broker must register first.",
        cause: "The controller does not know its id.",
        remedy: "Nothing: the broker registers by itself.",
    },
    Response {
        code: 2011,
        name: "CONTROLLER_MASTER_STILL_EXIST",
        meaning: "There is a master already, so none is elected.",
        cause: "The election was not needed.",
        remedy: "Nothing; to move the role, name the broker that is to have it.",
    },
    Response {
        code: 2012,
        name: "CONTROLLER_ELECT_MASTER_FAILED",
        meaning: "No master could be elected.",
        cause: "No replica in step is alive.",
        remedy: "Start one of them; electing one that is behind loses messages.",
    },
    Response {
        code: 2013,
        name: "CONTROLLER_ALTER_SYNC_STATE_SET_FAILED",
        meaning: "The set of replicas in step could not be changed.",
        cause: "The request was not the master's, or names replicas that are not alive.",
        remedy: "Nothing: the master asks again.",
    },
    Response {
        code: 2014,
        name: "CONTROLLER_BROKER_ID_INVALID",
        meaning: "The broker's id is not the one that was given to it.",
        cause: "Its id file was lost, copied or changed.",
        remedy: "Give each replica its own folder with its own id file.",
    },
    Response {
        code: 2015,
        name: "CONTROLLER_JRAFT_INTERNAL_ERROR",
        meaning: "The controllers' consensus failed.",
        cause: "A fault of JRaft, or no majority.",
        remedy: "See that a majority of controllers runs; read their logs.",
    },
    Response {
        code: 2016,
        name: "CONTROLLER_BROKER_LIVE_INFO_NOT_EXISTS",
        meaning: "The controller has no heartbeat of the broker.",
        cause: "It has just started, or cannot be reached.",
        remedy: "Wait for the next heartbeat; check the network.",
    },
    Response {
        code: 2017,
        name: "LMQ_QUOTA_EXCEEDED",
        meaning: "There are too many light queues.",
        cause: "The limit of LMQ queues of the broker is reached.",
        remedy: "Delete those that nobody uses, or raise the limit.",
    },
    Response {
        code: 2018,
        name: "LITE_SUBSCRIPTION_QUOTA_EXCEEDED",
        meaning: "The client subscribes to too many lite topics.",
        cause: "The limit for each client or group is reached.",
        remedy: "Unsubscribe from some, or raise the limit.",
    },
    Response {
        code: 3001,
        name: "USER_NOT_EXIST",
        meaning: "There is no such user.",
        cause: "It was not created, or its name is misspelt.",
        remedy: "Check the name (listUser), or create it with createUser.",
    },
    Response {
        code: 3002,
        name: "POLICY_NOT_EXIST",
        meaning: "There is no such permission.",
        cause: "The user has no rule for this resource.",
        remedy: "Look at getAcl, or add one with createAcl.",
    },
];

/// By number.
const REQUESTS: &[(i32, &str)] = &[
    (10, "SEND_MESSAGE"),
    (11, "PULL_MESSAGE"),
    (12, "QUERY_MESSAGE"),
    (13, "QUERY_BROKER_OFFSET"),
    (14, "QUERY_CONSUMER_OFFSET"),
    (15, "UPDATE_CONSUMER_OFFSET"),
    (17, "UPDATE_AND_CREATE_TOPIC"),
    (18, "UPDATE_AND_CREATE_TOPIC_LIST"),
    (21, "GET_ALL_TOPIC_CONFIG"),
    (22, "GET_TOPIC_CONFIG_LIST"),
    (23, "GET_TOPIC_NAME_LIST"),
    (25, "UPDATE_BROKER_CONFIG"),
    (26, "GET_BROKER_CONFIG"),
    (27, "TRIGGER_DELETE_FILES"),
    (28, "GET_BROKER_RUNTIME_INFO"),
    (29, "SEARCH_OFFSET_BY_TIMESTAMP"),
    (30, "GET_MAX_OFFSET"),
    (31, "GET_MIN_OFFSET"),
    (32, "GET_EARLIEST_MSG_STORETIME"),
    (33, "VIEW_MESSAGE_BY_ID"),
    (34, "HEART_BEAT"),
    (35, "UNREGISTER_CLIENT"),
    (36, "CONSUMER_SEND_MSG_BACK"),
    (37, "END_TRANSACTION"),
    (38, "GET_CONSUMER_LIST_BY_GROUP"),
    (39, "CHECK_TRANSACTION_STATE"),
    (40, "NOTIFY_CONSUMER_IDS_CHANGED"),
    (41, "LOCK_BATCH_MQ"),
    (42, "UNLOCK_BATCH_MQ"),
    (43, "GET_ALL_CONSUMER_OFFSET"),
    (45, "GET_ALL_DELAY_OFFSET"),
    (46, "CHECK_CLIENT_CONFIG"),
    (47, "GET_CLIENT_CONFIG"),
    (60, "GET_TIMER_CHECK_POINT"),
    (61, "GET_TIMER_METRICS"),
    (100, "PUT_KV_CONFIG"),
    (101, "GET_KV_CONFIG"),
    (102, "DELETE_KV_CONFIG"),
    (103, "REGISTER_BROKER"),
    (104, "UNREGISTER_BROKER"),
    (105, "GET_ROUTEINFO_BY_TOPIC"),
    (106, "GET_BROKER_CLUSTER_INFO"),
    (200, "UPDATE_AND_CREATE_SUBSCRIPTIONGROUP"),
    (201, "GET_ALL_SUBSCRIPTIONGROUP_CONFIG"),
    (202, "GET_TOPIC_STATS_INFO"),
    (203, "GET_CONSUMER_CONNECTION_LIST"),
    (204, "GET_PRODUCER_CONNECTION_LIST"),
    (205, "WIPE_WRITE_PERM_OF_BROKER"),
    (206, "GET_ALL_TOPIC_LIST_FROM_NAMESERVER"),
    (207, "DELETE_SUBSCRIPTIONGROUP"),
    (208, "GET_CONSUME_STATS"),
    (209, "SUSPEND_CONSUMER"),
    (210, "RESUME_CONSUMER"),
    (211, "RESET_CONSUMER_OFFSET_IN_CONSUMER"),
    (212, "RESET_CONSUMER_OFFSET_IN_BROKER"),
    (213, "ADJUST_CONSUMER_THREAD_POOL"),
    (214, "WHO_CONSUME_THE_MESSAGE"),
    (215, "DELETE_TOPIC_IN_BROKER"),
    (216, "DELETE_TOPIC_IN_NAMESRV"),
    (217, "REGISTER_TOPIC_IN_NAMESRV"),
    (219, "GET_KVLIST_BY_NAMESPACE"),
    (220, "RESET_CONSUMER_CLIENT_OFFSET"),
    (221, "GET_CONSUMER_STATUS_FROM_CLIENT"),
    (222, "INVOKE_BROKER_TO_RESET_OFFSET"),
    (223, "INVOKE_BROKER_TO_GET_CONSUMER_STATUS"),
    (224, "GET_TOPICS_BY_CLUSTER"),
    (225, "UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST"),
    (300, "QUERY_TOPIC_CONSUME_BY_WHO"),
    (301, "REGISTER_FILTER_SERVER"),
    (302, "REGISTER_MESSAGE_FILTER_CLASS"),
    (303, "QUERY_CONSUME_TIME_SPAN"),
    (304, "GET_SYSTEM_TOPIC_LIST_FROM_NS"),
    (305, "GET_SYSTEM_TOPIC_LIST_FROM_BROKER"),
    (306, "CLEAN_EXPIRED_CONSUMEQUEUE"),
    (307, "GET_CONSUMER_RUNNING_INFO"),
    (308, "QUERY_CORRECTION_OFFSET"),
    (309, "CONSUME_MESSAGE_DIRECTLY"),
    (310, "SEND_MESSAGE_V2"),
    (311, "GET_UNIT_TOPIC_LIST"),
    (312, "GET_HAS_UNIT_SUB_TOPIC_LIST"),
    (313, "GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST"),
    (314, "CLONE_GROUP_OFFSET"),
    (315, "VIEW_BROKER_STATS_DATA"),
    (316, "CLEAN_UNUSED_TOPIC"),
    (317, "GET_BROKER_CONSUME_STATS"),
    (318, "UPDATE_NAMESRV_CONFIG"),
    (319, "GET_NAMESRV_CONFIG"),
    (320, "SEND_BATCH_MESSAGE"),
    (321, "QUERY_CONSUME_QUEUE"),
    (322, "QUERY_DATA_VERSION"),
    (323, "RESUME_CHECK_HALF_MESSAGE"),
    (324, "SEND_REPLY_MESSAGE"),
    (325, "SEND_REPLY_MESSAGE_V2"),
    (326, "PUSH_REPLY_MESSAGE_TO_CLIENT"),
    (327, "ADD_WRITE_PERM_OF_BROKER"),
    (328, "GET_ALL_PRODUCER_INFO"),
    (329, "DELETE_EXPIRED_COMMITLOG"),
    (343, "QUERY_TOPICS_BY_CONSUMER"),
    (345, "QUERY_SUBSCRIPTION_BY_CONSUMER"),
    (351, "GET_TOPIC_CONFIG"),
    (352, "GET_SUBSCRIPTIONGROUP_CONFIG"),
    (353, "UPDATE_AND_GET_GROUP_FORBIDDEN"),
    (354, "CHECK_ROCKSDB_CQ_WRITE_PROGRESS"),
    (355, "EXPORT_ROCKSDB_CONFIG_TO_JSON"),
    (361, "LITE_PULL_MESSAGE"),
    (370, "RECALL_MESSAGE"),
    (400, "QUERY_ASSIGNMENT"),
    (401, "SET_MESSAGE_REQUEST_MODE"),
    (402, "GET_ALL_MESSAGE_REQUEST_MODE"),
    (513, "UPDATE_AND_CREATE_STATIC_TOPIC"),
    (901, "GET_BROKER_MEMBER_GROUP"),
    (902, "ADD_BROKER"),
    (903, "REMOVE_BROKER"),
    (904, "BROKER_HEARTBEAT"),
    (905, "NOTIFY_MIN_BROKER_ID_CHANGE"),
    (906, "EXCHANGE_BROKER_HA_INFO"),
    (907, "GET_BROKER_HA_STATUS"),
    (908, "RESET_MASTER_FLUSH_OFFSET"),
    (1001, "CONTROLLER_ALTER_SYNC_STATE_SET"),
    (1002, "CONTROLLER_ELECT_MASTER"),
    (1003, "CONTROLLER_REGISTER_BROKER"),
    (1004, "CONTROLLER_GET_REPLICA_INFO"),
    (1005, "CONTROLLER_GET_METADATA_INFO"),
    (1006, "CONTROLLER_GET_SYNC_STATE_DATA"),
    (1007, "GET_BROKER_EPOCH_CACHE"),
    (1008, "NOTIFY_BROKER_ROLE_CHANGED"),
    (1009, "UPDATE_CONTROLLER_CONFIG"),
    (1010, "GET_CONTROLLER_CONFIG"),
    (1011, "CLEAN_BROKER_DATA"),
    (1012, "CONTROLLER_GET_NEXT_BROKER_ID"),
    (1013, "CONTROLLER_APPLY_BROKER_ID"),
    (2001, "UPDATE_COLD_DATA_FLOW_CTR_CONFIG"),
    (2002, "REMOVE_COLD_DATA_FLOW_CTR_CONFIG"),
    (2003, "GET_COLD_DATA_FLOW_CTR_INFO"),
    (2004, "SET_COMMITLOG_READ_MODE"),
    (3001, "AUTH_CREATE_USER"),
    (3002, "AUTH_UPDATE_USER"),
    (3003, "AUTH_DELETE_USER"),
    (3004, "AUTH_GET_USER"),
    (3005, "AUTH_LIST_USER"),
    (3006, "AUTH_CREATE_ACL"),
    (3007, "AUTH_UPDATE_ACL"),
    (3008, "AUTH_DELETE_ACL"),
    (3009, "AUTH_GET_ACL"),
    (3010, "AUTH_LIST_ACL"),
    (5001, "SWITCH_TIMER_ENGINE"),
    (200050, "POP_MESSAGE"),
    (200051, "ACK_MESSAGE"),
    (200052, "PEEK_MESSAGE"),
    (200053, "CHANGE_MESSAGE_INVISIBLETIME"),
    (200054, "NOTIFICATION"),
    (200055, "POLLING_INFO"),
    (200056, "POP_ROLLBACK"),
    (200070, "POP_LITE_MESSAGE"),
    (200071, "LITE_SUBSCRIPTION_CTL"),
    (200072, "ACK_LITE_MESSAGE"),
    (200073, "NOTIFY_UNSUBSCRIBE_LITE"),
    (200074, "GET_BROKER_LITE_INFO"),
    (200075, "GET_PARENT_TOPIC_INFO"),
    (200076, "GET_LITE_TOPIC_INFO"),
    (200077, "GET_LITE_CLIENT_INFO"),
    (200078, "GET_LITE_GROUP_INFO"),
    (200079, "TRIGGER_LITE_DISPATCH"),
    (200151, "BATCH_ACK_MESSAGE"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_stands_once_and_says_what_to_do() {
        let codes: BTreeSet<_> = RESPONSES.iter().map(|response| response.code).collect();
        assert_eq!(codes.len(), RESPONSES.len());
        let codes: BTreeSet<_> = REQUESTS.iter().map(|(code, _)| code).collect();
        assert_eq!(codes.len(), REQUESTS.len());
        for response in RESPONSES {
            for text in [response.meaning, response.remedy] {
                assert!(text.ends_with('.') && text.len() < 240, "{}", response.name);
            }
        }
    }
}
