//! 10 and 310 `SEND_MESSAGE`, 320 `SEND_BATCH_MESSAGE`, 36 `CONSUMER_SEND_MSG_BACK`.

use bytestring::ByteString;

use super::fields::{FieldWriter, Fields, header};

header! {
    /// A send. The short keys are those of 310 and 320, the long ones those of 10.
    Send {
        producer_group: ByteString = "a" | "producerGroup" required,
        topic: ByteString = "b" | "topic" required,
        /// The topic whose settings an automatically created topic takes.
        default_topic: ByteString = "c" | "defaultTopic" required,
        default_topic_queue_nums: i32 = "d" | "defaultTopicQueueNums" required,
        /// Negative: the broker chooses.
        queue_id: i32 = "e" | "queueId" required,
        sys_flag: i32 = "f" | "sysFlag" required,
        /// Milliseconds since 1970, by the producer's clock.
        born_timestamp: i64 = "g" | "bornTimestamp" required,
        flag: i32 = "h" | "flag" required,
        /// Encoded as in [`crate::properties`].
        properties: ByteString = "i" | "properties",
        reconsume_times: i32 = "j" | "reconsumeTimes",
        unit_mode: bool = "k" | "unitMode",
        max_reconsume_times: Option<i32> = "l" | "maxReconsumeTimes",
        /// The body is a batch ([`crate::batch`]).
        batch: bool = "m" | "batch",
        broker_name: Option<ByteString> = "n" | "bname",
    }
}

header! {
    /// A consumer could not process a message and gives it back.
    SendBack {
        /// Position of the message in the commit log.
        offset: i64 = "offset" required,
        group: ByteString = "group" required,
        /// 0: the broker decides; negative: to the dead-letter topic at once.
        delay_level: i32 = "delayLevel",
        origin_msg_id: Option<ByteString> = "originMsgId",
        origin_topic: Option<ByteString> = "originTopic",
        unit_mode: bool = "unitMode",
        max_reconsume_times: Option<i32> = "maxReconsumeTimes",
    }
}

/// The answer to a send that was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// Offset message id; of a batch, all of them with commas between.
    pub msg_id: String,
    pub queue_id: i32,
    /// Of the first message, if a batch.
    pub queue_offset: i64,
    /// The message's `UNIQ_KEY`; of a batch, all of them with commas between.
    pub transaction_id: ByteString,
    /// `regionId` of the broker.
    pub region: ByteString,
    /// Whether clients should trace.
    pub trace_on: bool,
}

impl Fields for Sent {
    fn write(&self, w: &mut FieldWriter<'_>) {
        w.text("msgId", &self.msg_id);
        w.number("queueId", self.queue_id);
        w.number("queueOffset", self.queue_offset);
        if !self.transaction_id.is_empty() {
            w.text("transactionId", &self.transaction_id);
        }
        w.text("MSG_REGION", &self.region);
        w.text("TRACE_ON", if self.trace_on { "true" } else { "false" });
    }
}

header! {
    /// [`Sent`] as a client reads it.
    SendReply {
        msg_id: ByteString = "msgId" required,
        queue_id: i32 = "queueId" required,
        queue_offset: i64 = "queueOffset" required,
        transaction_id: Option<ByteString> = "transactionId",
    }
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut, BytesMut};

    use super::*;
    use crate::remoting::fields::{FieldError, Header};
    use crate::remoting::frame::{Frame, Head, encode};

    #[test]
    fn long_and_short_keys_name_the_same_fields() {
        let header = br#"{"code":10,"extFields":{"producerGroup":"g","topic":"t","defaultTopic":"TBW102","defaultTopicQueueNums":"4","queueId":"2","sysFlag":"0","bornTimestamp":"1700000000000","flag":"0","properties":"KEYS\u0001k\u0002","reconsumeTimes":"0","unitMode":"false","batch":"false"}}"#;
        let mut bytes = BytesMut::new();
        bytes.put_u32(4 + header.len() as u32);
        bytes.put_u32(header.len() as u32);
        bytes.put_slice(header);
        let bytes = bytes.freeze();
        let long = Send::read(&Frame::parse(&bytes).unwrap()).unwrap();
        assert_eq!((&long.topic[..], &long.properties[..]), ("t", "KEYS\u{1}k\u{2}"));
        let mut short = BytesMut::new();
        encode(&mut short, &Head::default(), &long, 0);
        let short = short.freeze();
        assert_eq!(Send::read(&Frame::parse(&short).unwrap()).unwrap(), long);
    }

    #[test]
    fn a_missing_field_is_named() {
        let mut bytes = BytesMut::new();
        encode(&mut bytes, &Head::default(), &(), 0);
        let bytes = bytes.freeze();
        let error = Send::read(&Frame::parse(&bytes).unwrap()).unwrap_err();
        assert_eq!(error, FieldError::Missing("a"));
    }
}
