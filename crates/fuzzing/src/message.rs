//! Stored messages, batches, and bodies in fastjson's dialect.

use kerolox_protocol::json::{self, dialect as rewrite};
use kerolox_protocol::record::{MAGIC_V1, MAGIC_V2, View, walk};
use kerolox_protocol::remoting::admin::{DataVersion, GroupConfig, TopicConfig};
use kerolox_protocol::remoting::client::{CheckClientConfig, Heartbeat};
use kerolox_protocol::remoting::lock::LockBatch;
use kerolox_protocol::remoting::registration::RegisterBody;
use kerolox_protocol::remoting::route::TopicRoute;
use kerolox_protocol::tags::TagFilter;
use kerolox_protocol::{batch as batches, properties};

/// Records as they stand, and again with magic and size made right for the first.
pub fn record(input: &[u8]) {
    let read: usize = walk(input).map(|view| view.bytes.len()).sum();
    assert!(read <= input.len());
    walk(input).for_each(|view| one_record(&view));
    let mut mended = input.to_vec();
    let Some(head) = mended.first_chunk_mut::<8>() else { return };
    let magic = if head[7] & 1 == 0 { MAGIC_V1 } else { MAGIC_V2 };
    head[4..].copy_from_slice(&magic.to_be_bytes());
    head[..4].copy_from_slice(&(input.len() as u32).to_be_bytes());
    if let Ok(view) = View::parse(&mended) {
        one_record(&view);
    }
}

fn one_record(view: &View<'_>) {
    let _ = view.body_is_sound();
    let mut out = Vec::new();
    let new = view.to_new();
    new.write(view.queue_offset, view.physical_offset, view.store_timestamp, &mut out);
    assert_eq!(out.len(), new.size());
    let again = View::parse(&out).expect("it was just written");
    assert!(again.body_is_sound());
    assert_eq!(
        (again.topic, again.body, again.properties),
        (view.topic, view.body, view.properties)
    );
    assert_eq!((again.born_host, again.store_host), (view.born_host, view.store_host));
    all_properties(view.properties);
}

fn all_properties(encoded: &[u8]) {
    for (name, _) in properties::iter(encoded) {
        if let Ok(name) = std::str::from_utf8(name) {
            let _ = properties::get(encoded, name);
        }
    }
    let mut out = Vec::new();
    properties::copy_without(encoded, &[properties::TAGS], &mut out);
    assert!(out.len() <= encoded.len() + 1);
    assert_eq!(properties::get(&out, properties::TAGS), None);
    properties::push(&mut out, properties::TAGS, "tag");
    assert_eq!(properties::get(&out, properties::TAGS), Some("tag"));
}

/// The body of a batch send.
pub fn batch(input: &[u8]) {
    let Ok(messages) = batches::split(input) else { return };
    assert!(!messages.is_empty());
    let mut out = Vec::new();
    messages.iter().for_each(|message| batches::push(&mut out, message));
    assert_eq!(out.len(), input.len());
    assert_eq!(batches::split(&out).as_deref(), Ok(&messages[..]));
    messages.iter().for_each(|message| all_properties(message.properties));
}

/// How much longer a text may become: what is not printable takes six bytes, and more in keys.
const GROWTH_MAX: usize = 16;

/// A body in fastjson's dialect.
pub fn dialect(input: &[u8]) {
    if let Ok(strict) = rewrite::strict(input) {
        assert!(strict.len() <= GROWTH_MAX * input.len(), "{} bytes", strict.len());
        let again = rewrite::strict(&strict).expect("strict JSON is fastjson's, too");
        assert_eq!(again, strict);
    }
    let _ = json::from_slice::<serde_json::Value>(input);
    let _ = json::from_slice::<Heartbeat>(input);
    let _ = json::from_slice::<LockBatch>(input);
    let _ = json::from_slice::<CheckClientConfig>(input);
    let _ = json::from_slice::<TopicConfig>(input);
    let _ = json::from_slice::<GroupConfig>(input);
    let _ = json::from_slice::<DataVersion>(input);
    let _ = json::from_slice::<TopicRoute>(input);
    let _ = json::from_slice::<RegisterBody>(input);
    if let Ok(text) = std::str::from_utf8(input) {
        let _ = TagFilter::parse(text);
    }
}
