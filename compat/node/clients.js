'use strict';

// Producers, consumers and topics for the tests.

const assert = require('node:assert/strict');
const crypto = require('node:crypto');
const { setTimeout: sleep } = require('node:timers/promises');
const { Consumer, Producer } = require('ali-ons');

// How long a condition may take to come true. Far longer than a healthy broker needs.
const PATIENCE = 40000;

const run = crypto.randomBytes(5).toString('hex');
let count = 0;

// A topic, group or instance name that no other test or run has.
function unique(kind) {
  return `node-${kind}-${run}-${count++}`;
}

async function within(what, condition, patience = PATIENCE) {
  for (const deadline = Date.now() + patience; !await condition(); await sleep(20)) {
    assert.ok(Date.now() < deadline, `not within ${patience} ms: ${what}`);
  }
}

const quiet = { debug() {}, info() {}, warn() {}, error() {} };

function options(broker, more) {
  return {
    nameSrv: broker.nameSrv,
    httpclient: {}, // asked for, but of use only without nameSrv
    logger: quiet,
    instanceName: unique('instance'),
    // This client doesn't hear the broker's notices, it only looks every so often.
    pollNameServerInteval: 1000,
    rebalanceInterval: 1000,
    heartbeatBrokerInterval: 5000,
    ...more,
  };
}

// What one test opened, closed at its end.
class Clients {
  constructor(t, broker) {
    this.broker = broker;
    this.opened = [];
    this.errors = [];
    t.after(() => this.close());
  }

  async close() {
    for (const client of this.opened.reverse()) await client.close();
  }

  async ready(client) {
    // Such as "no route info of this topic" for a retry topic that isn't there yet.
    client.on('error', err => this.errors.push(err));
    this.opened.push(client);
    await client.ready();
    // The client makes a producer of its own at first use and keeps it.
    Producer.defaultProducer.removeAllListeners('error');
    Producer.defaultProducer.on('error', () => {});
    return client;
  }

  async producer() {
    return this.ready(new Producer(options(this.broker, { producerGroup: unique('pgroup') })));
  }

  async consumer(topic, tags, handler, more) {
    const consumer = new Consumer(options(this.broker, {
      consumerGroup: unique('cgroup'),
      consumeFromWhere: 'CONSUME_FROM_FIRST_OFFSET',
      ...more,
    }));
    consumer.subscribe(topic, tags, handler);
    return this.ready(consumer);
  }

  async shut(client) {
    this.opened.splice(this.opened.indexOf(client), 1);
    await client.close();
  }

  // This client can't send to a topic without a route, so it can't have one made by
  // sending; but its inner part can create one.
  async topic(producer, queues = 4) {
    const name = unique('topic');
    const api = producer._mqClient;
    const route = await api.getDefaultTopicRouteInfoFromNameServer('TBW102', 3000);
    await api.createTopic(route.brokerDatas[0].brokerAddrs[0], 'TBW102', {
      topicName: name,
      readQueueNums: queues,
      writeQueueNums: queues,
      perm: 6,
      topicFilterType: 'SINGLE_TAG',
      topicSysFlag: 0,
      order: false,
    }, 3000);
    await within('the route of the new topic', () => api.getTopicRouteInfoFromNameServer(name, 3000).then(
      made => made.queueDatas[0].writeQueueNums === queues, () => false));
    return name;
  }
}

// Collects what a consumer is handed.
class Inbox {
  constructor(decide = () => undefined) {
    this.msgs = [];
    this.handler = async msg => {
      this.msgs.push(msg);
      return decide(msg);
    };
  }

  get bodies() {
    return this.msgs.map(msg => msg.body.toString());
  }

  // Waits for these messages and nothing else, each once.
  async exactly(bodies) {
    await within(`${bodies.length} messages`, () => this.msgs.length >= bodies.length);
    assert.deepEqual(this.bodies.sort(), [ ...bodies ].sort());
  }
}

module.exports = { Clients, Inbox, unique, within, sleep };
