//! Every command. A family is a file; a command is a struct with its options and [`run`](Run::run).

use anyhow::Result;

use crate::admin::Admin;
use crate::out::Out;

pub mod brokers;
pub mod clients;
pub mod doctor;
pub mod explain;
pub mod exports;
pub mod groups;
pub mod lag;
pub mod names;
pub mod offsets;
pub mod print;
pub mod queries;
pub mod sends;
pub mod stats;
pub mod topics;

/// What a command does.
pub(crate) trait Run {
    /// An error says what failed, where, and what to do.
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()>;
}

macro_rules! commands {
    ($($(#[doc = $doc:literal])* $name:literal $command:ident = $family:ident;)*) => {
        /// A command with its options.
        #[derive(Debug, clap::Subcommand)]
        pub enum AdminCommand {
            $($(#[doc = $doc])* #[command(name = $name)] $command($family::$command),)*
        }

        /// The commands' names.
        pub const NAMES: &[&str] = &[$($name),*];

        impl AdminCommand {
            pub(crate) async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
                match self {
                    $(AdminCommand::$command(command) => Box::pin(command.run(admin, out)).await,)*
                }
            }
        }
    };
}

commands! {
    /// Create or change a topic
    "updateTopic" UpdateTopic = topics;
    /// Create or change the topics of a JSON file
    "updateTopicList" UpdateTopicList = topics;
    /// Delete a topic from the brokers of a cluster and from the name servers
    "deleteTopic" DeleteTopic = topics;
    /// Change a topic's permission
    "updateTopicPerm" UpdateTopicPerm = topics;
    /// Show where a topic lives
    "topicRoute" TopicRoute = topics;
    /// Show the offsets of a topic's queues
    "topicStatus" TopicStatus = topics;
    /// List all topics
    "topicList" TopicList = topics;
    /// Show the clusters that hold a topic
    "topicClusterList" TopicClusterList = topics;
    /// Get, put or delete a topic's order configuration
    "updateOrderConf" UpdateOrderConf = topics;
    /// Show how a topic's queues would be shared
    "allocateMQ" AllocateMQ = topics;
    /// Create or change a consumer group
    "updateSubGroup" UpdateSubGroup = groups;
    /// Create or change the consumer groups of a JSON file
    "updateSubGroupList" UpdateSubGroupList = groups;
    /// Delete a consumer group
    "deleteSubGroup" DeleteSubGroup = groups;
    /// Show a group's settings on every broker
    "getConsumerConfig" GetConsumerConfig = groups;
    /// Show how far a group is, or list all groups
    "consumerProgress" ConsumerProgress = groups;
    /// Show what a group's clients are doing
    "consumerStatus" ConsumerStatus = groups;
    /// Set a group's offsets of a topic by time, or of one queue
    "resetOffsetByTime" ResetOffsetByTime = offsets;
    /// Let a group go on at the end of a topic
    "skipAccumulatedMessage" SkipAccumulatedMessage = offsets;
    /// Copy a group's offsets of a topic to another group
    "cloneGroupOffset" CloneGroupOffset = offsets;
    /// Show a group's clients and subscriptions
    "consumerConnection" ConsumerConnection = clients;
    /// Show the clients of a producer group
    "producerConnection" ProducerConnection = clients;
    /// Show all producers of a broker
    "producer" Producer = clients;
    /// Show how much goes into and out of all topics
    "statsAll" StatsAll = stats;
    /// Watch all groups, and say what is wrong with them
    "startMonitoring" StartMonitoring = stats;
    /// Show messages by their ids, and who consumed them; send them again, or push them to a client
    "queryMsgById" QueryMsgById = queries;
    /// List the messages that have a key
    "queryMsgByKey" QueryMsgByKey = queries;
    /// Show messages by their unique id, and who consumed them
    "queryMsgByUniqueKey" QueryMsgByUniqueKey = queries;
    /// Show the message at an offset of a queue
    "queryMsgByOffset" QueryMsgByOffset = queries;
    /// Show what clients wrote about a message's way
    "queryMsgTraceById" QueryMsgTraceById = queries;
    /// Show entries of a queue's index
    "queryCq" QueryCq = queries;
    /// Print the messages of a topic
    "printMsg" PrintMsg = print;
    /// Print the messages of one queue, or count their tags
    "printMsgByQueue" PrintMsgByQueue = print;
    /// Read messages, and leave offsets as they are
    "consumeMessage" ConsumeMessage = print;
    /// Follow a topic, a line for each message
    "tail" Tail = print;
    /// Send one message
    "sendMessage" SendMessage = sends;
    /// Show how long sends to a topic's queues take
    "checkMsgSendRT" CheckMsgSendRT = sends;
    /// Send test messages to a broker, and show each result
    "sendMsgStatus" SendMsgStatus = sends;
    /// Show how long sends to every broker take, again and again
    "clusterRT" ClusterRT = sends;
    /// Show how a broker is, or every one of a cluster
    "brokerStatus" BrokerStatus = brokers;
    /// Show the configuration of a broker, or of every one of a cluster
    "getBrokerConfig" GetBrokerConfig = brokers;
    /// Set a key of a broker's configuration, or of every master's of a cluster
    "updateBrokerConfig" UpdateBrokerConfig = brokers;
    /// Show how far every group is on a broker
    "brokerConsumeStats" BrokerConsumeStatsOf = brokers;
    /// List clusters and their brokers, with their load
    "clusterList" ClusterList = brokers;
    /// Drop index entries of messages that are gone
    "cleanExpiredCQ" CleanExpiredCQ = brokers;
    /// Drop the queues of topics that are deleted
    "cleanUnusedTopic" CleanUnusedTopic = brokers;
    /// Delete log files that are too old, now
    "deleteExpiredCommitLog" DeleteExpiredCommitLog = brokers;
    /// Note a value at the name servers
    "updateKvConfig" UpdateKvConfig = names;
    /// Delete a value at the name servers
    "deleteKvConfig" DeleteKvConfig = names;
    /// Take a broker's write permission in all topics away
    "wipeWritePerm" WipeWritePerm = names;
    /// Give a broker write permission in all topics
    "addWritePerm" AddWritePerm = names;
    /// Show the configuration of the name servers
    "getNamesrvConfig" GetNamesrvConfig = names;
    /// Set a key of the name servers' configuration
    "updateNamesrvConfig" UpdateNamesrvConfig = names;
    /// Write topics and groups to a file
    "exportMetadata" ExportMetadata = exports;
    /// Write the brokers' configurations to a file
    "exportConfigs" ExportConfigs = exports;
    /// Write the brokers' figures to a file
    "exportMetrics" ExportMetrics = exports;
    /// Show how far groups are behind, in messages and seconds, and who is to catch up
    "lag" Lag = lag;
    /// Say what a response code means and what to do, or what a request code is
    "explain" Explain = explain;
    /// Check a running cluster from here, and a folder for data
    "doctor" Doctor = doctor;
}

/// Commands of mqadmin that this release has not, and why.
pub const LATER: &[(&str, &str)] = &[
    ("setConsumeMode exportPopRecord", "POP comes with a later release"),
    ("updateStaticTopic remappingStaticTopic", "static topics come with a later release"),
    ("addBroker removeBroker", "there is no broker container; start one process for each broker"),
    (
        "resetMasterFlushOffset haStatus getSyncStateSet getBrokerEpoch",
        "replication comes with a later release",
    ),
    (
        "getControllerMetaData getControllerConfig updateControllerConfig electMaster cleanBrokerMetadata",
        "automatic fail-over comes with a later release",
    ),
    (
        "createUser updateUser deleteUser getUser listUser copyUser createAcl updateAcl deleteAcl getAcl listAcl copyAcl",
        "authentication and permissions come with a later release",
    ),
    (
        "exportMetadataInRocksDB rocksDBConfigToJson checkRocksdbCqWriteProgress",
        "there is no RocksDB; state and index come from the log",
    ),
    (
        "dumpCompactionLog",
        "topics that keep the last message of each key come with a later release",
    ),
    (
        "getColdDataFlowCtrInfo updateColdDataFlowCtrGroupConfig removeColdDataFlowCtrGroupConfig",
        "reads from the disk run apart from sends, so old messages need no limit",
    ),
    (
        "setCommitLogReadAheadMode",
        "files are read with plain calls in large steps; there is no mode to set",
    ),
    ("switchTimerEngine", "timers of any length come with a later release"),
    (
        "getBrokerLiteInfo getParentTopicInfo getLiteTopicInfo getLiteClientInfo getLiteGroupInfo triggerLiteDispatch",
        "light queues (LMQ) and lite topics come with a later release",
    ),
];
