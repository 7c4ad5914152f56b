//! Messages by id and by key.

use anyhow::{Result, bail};
use kerolox_protocol::remoting::codes::{request, response};
use kerolox_protocol::remoting::query::{QueryMessage, ViewMessage};
use kerolox_protocol::remoting::route::TopicRoute;
use kerolox_protocol::{ids, record};

use crate::admin::{Admin, Asked, Broker, holders, refused_with};
use crate::format::{Message, time_ms};

/// Messages that a broker's index gives at most.
pub const INDEX_MAX: i32 = 64;
/// Messages with one unique id: more are there only if it was sent again and again.
const UNIQUE_MAX: i32 = 32;

/// A message, and the broker that has it.
#[derive(Debug, Clone)]
pub struct Found {
    pub message: Message,
    /// Its name is empty where a message was found by its place.
    pub broker: Broker,
}

impl Found {
    /// As JSON, with the broker's name if it is known.
    pub fn json(&self) -> serde_json::Value {
        json_of(&self.message, &self.broker.name)
    }
}

/// A message as JSON, with its broker's name if that is known.
pub fn json_of(message: &Message, broker: &str) -> serde_json::Value {
    let mut value = message.json();
    if !broker.is_empty() {
        value["brokerName"] = broker.into();
    }
    value
}

/// Which part of an index is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Index {
    /// What a producer named as keys.
    Key,
    Tag,
    /// The client's id of a message.
    Unique,
}

impl Index {
    fn letter(self) -> &'static str {
        match self {
            Index::Key => "K",
            Index::Tag => "T",
            Index::Unique => "U",
        }
    }
}

/// A question to the index of every broker that holds a topic.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    pub topic: &'a str,
    pub key: &'a str,
    pub index: Index,
    /// Only brokers of this cluster. Of a light topic (LMQ) it is the parent topic.
    pub cluster: Option<&'a str>,
    /// Store times, in ms since 1970.
    pub begin: i64,
    pub end: i64,
    pub most: i32,
    /// Go on behind this entry, where the broker's index can.
    pub last_key: Option<&'a str>,
}

impl<'a> Question<'a> {
    /// For a message's unique id, whenever it was stored.
    pub fn unique(topic: &'a str, id: &'a str, cluster: Option<&'a str>) -> Question<'a> {
        Question {
            topic,
            key: id,
            index: Index::Unique,
            cluster,
            begin: 0,
            end: i64::MAX,
            most: UNIQUE_MAX,
            last_key: None,
        }
    }

    /// The times between which messages are looked for, in words; nothing if that is any time.
    fn window(&self) -> String {
        match (self.begin > 0, self.end < i64::MAX) {
            (false, false) => String::new(),
            (true, false) => format!(" that was stored at {} or later", time_ms(self.begin)),
            (false, true) => format!(" that was stored at {} or before", time_ms(self.end)),
            (true, true) => {
                let (begin, end) = (time_ms(self.begin), time_ms(self.end));
                format!(" that was stored between {begin} and {end}")
            }
        }
    }

    fn is_light(&self) -> bool {
        self.topic.starts_with("%LMQ%")
    }

    /// Where the brokers are looked up: these topics have no route of their own.
    fn route_topic(&self) -> &'a str {
        let has_none = self.is_light() || self.topic == "rmq_sys_wheel_timer";
        self.cluster.filter(|_| has_none).unwrap_or(self.topic)
    }

    fn brokers(&self, route: &TopicRoute) -> Result<Vec<Broker>> {
        let mut brokers = holders(route);
        if let Some(cluster) = self.cluster.filter(|_| !self.is_light()) {
            brokers.retain(|broker| broker.cluster == cluster);
        }
        if brokers.is_empty() {
            let whose = self.cluster.map(|cluster| format!(" of cluster {cluster:?}"));
            bail!("no broker{} holds topic {}", whose.unwrap_or_default(), self.topic);
        }
        Ok(brokers)
    }

    fn header(&self) -> QueryMessage {
        let topic = self.cluster.filter(|_| self.is_light()).unwrap_or(self.topic);
        QueryMessage {
            topic: topic.into(),
            key: self.key.into(),
            max_num: self.most,
            begin_timestamp: self.begin,
            end_timestamp: self.end,
            index_type: Some(self.index.letter().into()),
            unique_key_query: self.index == Index::Unique,
            last_key: self.last_key.map(Into::into),
        }
    }

    /// An index knows hashes alone: whether a message is what was asked for.
    fn matches(&self, message: &Message) -> bool {
        let is_topic = self.is_light() || message.topic == self.topic;
        match self.index {
            Index::Unique => message.id() == self.key,
            Index::Tag => is_topic && message.property("TAGS") == Some(self.key),
            Index::Key => {
                let keys = message.property("KEYS").unwrap_or_default();
                is_topic && keys.split(' ').any(|key| key == self.key)
            }
        }
    }

    async fn ask(&self, admin: &Admin, broker: &Broker) -> Result<Vec<Found>> {
        let code = request::QUERY_MESSAGE;
        let reply = match admin.ask(&broker.address, code, &self.header()).await {
            Ok(reply) => reply,
            Err(e) if refused_with(&e) == Some(response::QUERY_NOT_FOUND) => return Ok(Vec::new()),
            Err(e) => return Err(e),
        };
        let messages = record::walk(&reply.body).map(|view| Message::new(&view));
        let found = messages.filter(|message| self.matches(message));
        Ok(found.map(|message| Found { message, broker: broker.clone() }).collect())
    }

    /// Asks all brokers. A broker that cannot be asked does not hide what others have.
    pub async fn answer(&self, admin: &Admin) -> Result<Answer> {
        let route = admin.route(self.route_topic()).await?;
        let brokers = self.brokers(&route)?;
        let (mut found, mut asked) = (Vec::new(), Asked::default());
        let ask = async |broker: &Broker| {
            found.extend(self.ask(admin, broker).await?);
            Ok(())
        };
        asked.each(&brokers, ask).await;
        Ok(Answer { found, asked })
    }
}

/// What brokers have, and which could not say.
#[derive(Debug)]
pub struct Answer {
    pub found: Vec<Found>,
    asked: Asked,
}

impl Answer {
    /// An error if a broker could not be asked.
    pub fn complete(self) -> Result<()> {
        self.asked.result()
    }
}

/// 33: the message at a place.
async fn by_place(admin: &Admin, topic: &str, id: &str) -> Result<Found> {
    let Some((host, offset)) = ids::parse_offset_id(id) else {
        bail!("{id} names no place");
    };
    let address = host.to_string();
    let question = ViewMessage { offset: offset as i64, topic: Some(topic.into()) };
    let reply = admin.ask(&address, request::VIEW_MESSAGE_BY_ID, &question).await?;
    let broker = Broker { cluster: String::new(), name: String::new(), id: 0, address };
    match record::walk(&reply.body).next() {
        Some(view) => Ok(Found { message: Message::new(&view), broker }),
        None => bail!("{} answered with something that is no message", broker.address),
    }
}

/// An error if no broker of a cluster holds the topic, or the id names a place in another cluster.
async fn in_cluster(admin: &Admin, question: &Question<'_>, id: &str, cluster: &str) -> Result<()> {
    let replicas = admin.replicas(None).await?;
    question.brokers(&admin.route(question.route_topic()).await?)?;
    let place = ids::parse_offset_id(id).map(|(host, _)| host.to_string());
    let there = replicas.iter().filter(|broker| Some(&broker.address) == place.as_ref());
    match there.map(|broker| &*broker.cluster).find(|of| *of != cluster) {
        Some(other) => bail!("{id} names a place in cluster {other}, not in {cluster}"),
        None => Ok(()),
    }
}

/// A message by the id that names its place, or by its unique id.
pub async fn by_id(admin: &Admin, topic: &str, id: &str, cluster: Option<&str>) -> Result<Found> {
    let question = Question::unique(topic, id, cluster);
    if let Some(cluster) = cluster.filter(|_| !question.is_light()) {
        in_cluster(admin, &question, id, cluster).await?;
    }
    let by_place = match by_place(admin, topic, id).await {
        Ok(found) => return Ok(found),
        Err(error) => error,
    };
    let mut answer = question.answer(admin).await?;
    if answer.found.is_empty() {
        answer.complete()?;
        bail!("no message of topic {topic} has the id {id}: no index knows it, and {by_place:#}");
    }
    Ok(answer.found.swap_remove(0))
}

/// Every message with a unique id, by store time.
pub async fn by_unique_id(admin: &Admin, question: Question<'_>) -> Result<Vec<Found>> {
    let mut answer = question.answer(admin).await?;
    let mut found = std::mem::take(&mut answer.found);
    if found.is_empty() {
        answer.complete()?;
        let window = question.window();
        bail!("no message of topic {}{window} has the unique id {}", question.topic, question.key);
    }
    found.sort_by_key(|found| found.message.store_timestamp);
    Ok(found)
}
