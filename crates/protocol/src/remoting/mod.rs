//! The remoting protocol: frames, codes, and a typed header for each request and reply.
//!
//! - [`frame`]: the bytes of a frame, with a JSON or a binary header.
//! - [`fields`]: header fields, read in one pass and written without a map.
//! - [`codes`]: request and response codes.
//! - one module for each family of requests, request and reply side by side.

pub mod codes;
pub mod fields;
pub mod frame;

pub mod admin;
pub mod client;
pub mod lock;
pub mod offsets;
pub mod pull;
pub mod query;
pub mod registration;
pub mod reply;
pub mod route;
pub mod send;
