//! 11 `PULL_MESSAGE` and 361 `LITE_PULL_MESSAGE`.

use bytestring::ByteString;

use super::fields::header;

/// Bits of [`Pull::sys_flag`].
pub mod sys_flag {
    /// `commit_offset` is to be committed.
    pub const COMMIT: i32 = 1;
    /// Wait for a message if there is none.
    pub const SUSPEND: i32 = 2;
    /// `subscription` is given.
    pub const SUBSCRIPTION: i32 = 4;
    /// The subscription is a class filter (no longer supported by any broker).
    pub const CLASS_FILTER: i32 = 8;
}

header! {
    /// A pull of messages from one queue.
    Pull {
        consumer_group: ByteString = "consumerGroup" required,
        topic: ByteString = "topic" required,
        queue_id: i32 = "queueId" required,
        queue_offset: i64 = "queueOffset" required,
        max_msg_nums: i32 = "maxMsgNums" required,
        sys_flag: i32 = "sysFlag" required,
        commit_offset: i64 = "commitOffset" required,
        /// How long the broker may wait for a message, in milliseconds.
        suspend_timeout_millis: i64 = "suspendTimeoutMillis" required,
        subscription: Option<ByteString> = "subscription",
        sub_version: i64 = "subVersion" required,
        /// `TAG` (or absent), `SQL92`.
        expression_type: Option<ByteString> = "expressionType",
    }
}

header! {
    /// What every answer to a pull says.
    Pulled {
        /// 0: go on pulling from the master.
        suggest_which_broker_id: i64 = "suggestWhichBrokerId",
        next_begin_offset: i64 = "nextBeginOffset",
        min_offset: i64 = "minOffset",
        max_offset: i64 = "maxOffset",
    }
}
