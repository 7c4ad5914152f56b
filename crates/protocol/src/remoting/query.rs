//! 12 `QUERY_MESSAGE` (by key) and 33 `VIEW_MESSAGE_BY_ID`.

use bytestring::ByteString;

use super::fields::header;

header! {
    /// 12: the messages of a topic that carry a key, newest first.
    QueryMessage {
        topic: ByteString = "topic",
        key: ByteString = "key",
        max_num: i32 = "maxNum",
        /// Store times in milliseconds, both ends included.
        begin_timestamp: i64 = "beginTimestamp",
        end_timestamp: i64 = "endTimestamp",
        /// `K` key, `U` unique key, `T` tag (5.5).
        index_type: Option<ByteString> = "indexType",
        unique_key_query: bool = "_UNIQUE_KEY_QUERY",
        /// Go on behind this entry. Only an index in RocksDB knows it.
        last_key: Option<ByteString> = "lastKey",
    }
}

header! {
    /// The answer to 12.
    QueryReply {
        index_last_update_timestamp: i64 = "indexLastUpdateTimestamp",
        index_last_update_phyoffset: i64 = "indexLastUpdatePhyoffset",
    }
}

header! {
    /// 33: the message at a position in the commit log.
    ViewMessage {
        offset: i64 = "offset",
        topic: Option<ByteString> = "topic",
    }
}
