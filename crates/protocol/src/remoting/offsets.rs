//! 14 and 15 (a group's offsets), 29 to 32 (a queue's offsets and times).

use bytestring::ByteString;

use super::fields::header;

header! {
    /// 14 `QUERY_CONSUMER_OFFSET`.
    QueryConsumerOffset {
        consumer_group: ByteString = "consumerGroup",
        topic: ByteString = "topic",
        queue_id: i32 = "queueId",
        /// Absent: true.
        set_zero_if_not_found: Option<bool> = "setZeroIfNotFound",
    }
}

header! {
    /// 15 `UPDATE_CONSUMER_OFFSET`.
    UpdateConsumerOffset {
        consumer_group: ByteString = "consumerGroup",
        topic: ByteString = "topic",
        queue_id: Option<i32> = "queueId",
        commit_offset: Option<i64> = "commitOffset",
    }
}

header! {
    /// 30, 31 and 32: a question about one queue.
    QueueQuestion {
        topic: ByteString = "topic",
        queue_id: i32 = "queueId",
    }
}

header! {
    /// 29 `SEARCH_OFFSET_BY_TIMESTAMP`.
    SearchOffset {
        topic: ByteString = "topic",
        queue_id: i32 = "queueId",
        /// Milliseconds since 1970.
        timestamp: i64 = "timestamp",
        /// `LOWER` (default) or `UPPER`, in any case.
        boundary_type: Option<ByteString> = "boundaryType",
    }
}

header! {
    /// The answer to 14, 29, 30 and 31.
    OffsetReply { offset: i64 = "offset" }
}

header! {
    /// The answer to 32, in milliseconds since 1970.
    TimestampReply { timestamp: i64 = "timestamp" }
}
