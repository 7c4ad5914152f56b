//! JSON as RocketMQ's clients write and read it.
//!
//! Java encodes with fastjson, whose output is not always JSON: integer map keys stand bare
//! (`{0:"a"}`), and objects are used as map keys (`{{"queueId":0}:1}`). Its reader takes single
//! quotes, trailing commas, and strings where numbers belong.
//!
//! - [`scan`]: a scanner over bytes, for remoting headers; builds no tree.
//! - [`dialect`]: turns a body in fastjson's dialect into strict JSON, for serde.
//! - [`write`]: writes the bodies whose keys are objects, exactly as Java does.

pub mod dialect;
pub mod scan;
pub mod write;

pub use dialect::from_slice;
