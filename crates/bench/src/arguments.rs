//! What options take. In: their texts. Out: numbers within bounds, so that a wrong one is refused with the
//! name of its option, before anything is allocated, made or sent.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use kerolox_protocol::remoting::frame::FRAME_LENGTH_MAX;

use crate::body::HEADER_SIZE;

/// Bytes of a frame that its header may need.
const FRAME_HEADER_MAX: usize = 64 << 10;
/// Bytes of a request's body: brokers take less, and no frame holds more.
const BODY_MAX: usize = FRAME_LENGTH_MAX - FRAME_HEADER_MAX;
/// Bytes that a message of a batch has beside its body.
const BESIDE_BODY: usize = 128;

/// Why the arguments cannot be used.
type Wrong = String;

/// Bytes of a message's body.
pub(crate) fn size(text: &str) -> Result<usize, Wrong> {
    let sizes = HEADER_SIZE..=BODY_MAX;
    text.parse().ok().filter(|size| sizes.contains(size)).ok_or_else(|| {
        format!("not a whole number from {HEADER_SIZE}, which tell messages apart, to {BODY_MAX}, which a frame holds")
    })
}

/// Whether a request holds a batch.
pub(crate) fn batch_fits(batch: u32, size: usize) -> Result<(), Wrong> {
    if batch as usize * (size + BESIDE_BODY) > BODY_MAX {
        return Err(format!(
            "--batch {batch} messages of --size {size} are more than the {BODY_MAX} bytes that a frame holds"
        ));
    }
    Ok(())
}

/// Seconds; perhaps none.
pub(crate) fn seconds(text: &str) -> Result<f64, Wrong> {
    within(text, 0.0..=1e9, "seconds")
}

/// Seconds in which something is measured.
pub(crate) fn some_seconds(text: &str) -> Result<f64, Wrong> {
    within(text, 0.001..=1e9, "seconds")
}

/// Seconds of a part of the probe.
pub(crate) fn probe_seconds(text: &str) -> Result<f64, Wrong> {
    within(text, 0.05..=1e4, "seconds")
}

/// Messages per second.
pub(crate) fn rate(text: &str) -> Result<f64, Wrong> {
    within(text, 0.001..=1e9, "messages per second")
}

/// How many times as many.
pub(crate) fn factor(text: &str) -> Result<f64, Wrong> {
    within(text, 1.0..=1000.0, "times as many")
}

/// NaN is within no bounds.
fn within(text: &str, bounds: RangeInclusive<f64>, what: &str) -> Result<f64, Wrong> {
    text.parse().ok().filter(|number| bounds.contains(number)).ok_or_else(|| {
        let (low, high) = bounds.into_inner();
        format!("not a number of {what} from {low} to {high}")
    })
}

/// A folder that is there: one that a slip named would stay behind.
pub(crate) fn folder(text: &str) -> Result<PathBuf, Wrong> {
    match std::fs::metadata(text) {
        Ok(found) if found.is_dir() => Ok(text.into()),
        Ok(_) => Err("not a folder".to_owned()),
        Err(e) => Err(e.to_string()),
    }
}
