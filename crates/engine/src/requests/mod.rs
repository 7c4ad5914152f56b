//! One file for each request, or for a few that belong together: parse → check → apply → reply.

mod attributes;
pub mod check_config;
mod connections;
mod consume_queue;
mod forward;
mod groups;
mod heartbeat;
mod lock;
mod offsets;
mod pull;
mod query;
mod query_tag;
mod reset;
mod send;
mod send_back;
mod stats;
mod topics;
