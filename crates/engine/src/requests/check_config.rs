//! 46: may a client filter in this way?

use kerolox_protocol::remoting::client::CheckClientConfig;
use kerolox_protocol::remoting::codes::response;
use kerolox_protocol::remoting::reply::Reply;
use kerolox_protocol::tags::TagFilter;

use super::pull::check_expression_type;

/// Answers 46.
pub(crate) fn check(check: &CheckClientConfig) -> Reply {
    let data = &check.subscription_data;
    if let Err(refusal) = check_expression_type(Some(&data.expression_type.as_str().into())) {
        return refusal;
    }
    match TagFilter::parse(&data.sub_string) {
        Ok(_) => Reply::ok(),
        Err(why) => Reply::refuse(response::SUBSCRIPTION_PARSE_FAILED, why),
    }
}
