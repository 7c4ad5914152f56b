//! A frame as a connection reads it. In: bytes, of which the length is made right, so that the
//! header is reached. Whatever reads as a header is written again and must read the same.

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use kerolox_protocol::remoting::codes::{names, request};
use kerolox_protocol::remoting::fields::Header;
use kerolox_protocol::remoting::frame::{
    FRAME_LENGTH_MAX, Form, Frame, Head, LENGTH_SIZE, encode, frame_size,
};
use kerolox_protocol::remoting::{admin, client, offsets, pull, query, registration, route, send};

/// Requests that read their body.
const WITH_BODY: [i32; 8] = [
    request::HEART_BEAT,
    request::CHECK_CLIENT_CONFIG,
    request::LOCK_BATCH_MQ,
    request::UNLOCK_BATCH_MQ,
    request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP,
    names::REGISTER_BROKER,
    names::REGISTER_TOPIC_IN_NAMESRV,
    names::QUERY_DATA_VERSION,
];

/// See the module's documentation.
pub fn frame(input: &[u8]) {
    if let Ok(Some(size)) = frame_size(input) {
        assert!(size <= LENGTH_SIZE + FRAME_LENGTH_MAX);
    }
    let Some((_, rest)) = input.split_first_chunk::<LENGTH_SIZE>() else { return };
    if !(4..=FRAME_LENGTH_MAX).contains(&rest.len()) {
        return;
    }
    let mut bytes = (rest.len() as u32).to_be_bytes().to_vec();
    bytes.extend_from_slice(rest);
    let bytes = Bytes::from(bytes);
    let Ok(mut frame) = Frame::parse(&bytes) else { return };
    assert!(frame.body().len() < bytes.len());
    headers(&frame);
    decode(&frame);
    for code in WITH_BODY {
        frame.code = code;
        decode(&frame);
    }
}

fn decode(frame: &Frame<'_>) {
    let _ = kerolox_engine::Request::decode(frame);
    let _ = kerolox_namesrv::Request::decode(frame);
}

fn headers(frame: &Frame<'_>) {
    again::<send::Send>(frame);
    again::<send::SendBack>(frame);
    again::<send::SendReply>(frame);
    again::<pull::Pull>(frame);
    again::<pull::Pulled>(frame);
    again::<offsets::QueryConsumerOffset>(frame);
    again::<offsets::UpdateConsumerOffset>(frame);
    again::<offsets::QueueQuestion>(frame);
    again::<offsets::SearchOffset>(frame);
    again::<offsets::OffsetReply>(frame);
    again::<offsets::TimestampReply>(frame);
    again::<query::QueryMessage>(frame);
    again::<query::QueryReply>(frame);
    again::<query::ViewMessage>(frame);
    again::<client::Unregister>(frame);
    again::<client::ConsumerGroup>(frame);
    again::<client::RunningInfo>(frame);
    again::<client::ConsumeDirectly>(frame);
    again::<client::ResetClientOffset>(frame);
    again::<admin::CreateTopic>(frame);
    again::<admin::TopicQuestion>(frame);
    again::<admin::DeleteGroup>(frame);
    again::<admin::GroupQuestion>(frame);
    again::<admin::ProducerGroup>(frame);
    again::<admin::ConsumeStatsQuestion>(frame);
    again::<admin::ResetOffset>(frame);
    again::<route::RouteQuestion>(frame);
    again::<registration::RegisterBroker>(frame);
    again::<registration::RegisterReply>(frame);
    again::<registration::UnregisterBroker>(frame);
    again::<registration::RegisterTopic>(frame);
    again::<registration::QueryDataVersion>(frame);
    again::<registration::DataVersionReply>(frame);
    again::<registration::BrokerHeartbeat>(frame);
    again::<registration::KvKey>(frame);
    again::<registration::KvValue>(frame);
    again::<registration::BrokerName>(frame);
    again::<registration::WipeReply>(frame);
    again::<registration::AddReply>(frame);
    again::<registration::DeleteTopicInNames>(frame);
    again::<registration::ClusterQuestion>(frame);
}

/// Reads a header, and what it is written as.
fn again<H: Header + Debug + PartialEq>(frame: &Frame<'_>) {
    let Ok(header) = H::read(frame) else { return };
    for form in [Form::Json, Form::Binary] {
        let mut out = BytesMut::new();
        encode(&mut out, &Head { form, ..Head::default() }, &header, 0);
        let bytes = out.freeze();
        let written = Frame::parse(&bytes).expect("it was just written");
        assert_eq!(H::read(&written).as_ref(), Ok(&header));
    }
}
