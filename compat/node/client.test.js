'use strict';

// The published Node client ali-ons against Kerolox.

const assert = require('node:assert/strict');
const crypto = require('node:crypto');
const { test, before, after } = require('node:test');
const { Consumer, Message, Producer } = require('ali-ons');
const { Broker } = require('./broker');
const { Clients, Inbox, unique, within } = require('./clients');

let broker;
let failed = false;

before(async () => {
  broker = await Broker.launch();
});

after(async () => {
  if (!broker) return;
  if (Producer.defaultProducer) await Producer.defaultProducer.close();
  if (failed) console.error(broker.stderrTail());
  await broker.stop();
});

function scenario(name, body) {
  test(name, async t => {
    try {
      await body(new Clients(t, broker));
    } catch (err) {
      failed = true;
      throw err;
    }
  });
}

function numbered(prefix, count) {
  return Array.from({ length: count }, (_, i) => `${prefix}-${i}`);
}

async function send(producer, msg) {
  const result = await producer.send(msg);
  assert.equal(result.sendStatus, 'SEND_OK');
  assert.ok(result.msgId);
  return result;
}

scenario('send and consume exactly', async clients => {
  const producer = await clients.producer();
  const topic = await clients.topic(producer);
  const bodies = [ ...numbered('sync', 20), 'héllo wörld ✓ 你好 😀', 'big body '.repeat(12000) ];
  const keys = {};
  for (const [ i, body ] of bodies.entries()) {
    const msg = new Message(topic, 'täg', body);
    msg.keys = [ `key-${i}`, 'schlüssel-钥匙' ];
    msg.properties.price = '42';
    msg.properties['naïve ключ'] = 'wert ✓ 值 😀';
    keys[body] = msg.keys;
    await send(producer, msg);
  }
  const inbox = new Inbox();
  await clients.consumer(topic, '*', inbox.handler);
  await inbox.exactly(bodies);
  for (const got of inbox.msgs) {
    assert.equal(got.topic, topic);
    assert.equal(got.tags, 'täg');
    assert.equal(got.keys, keys[got.body.toString()]);
    assert.equal(got.properties.price, '42');
    assert.equal(got.properties['naïve ключ'], 'wert ✓ 值 😀');
    assert.equal(got.reconsumeTimes, 0);
    assert.ok(got.msgId && got.bornTimestamp > 0 && got.storeTimestamp > 0);
  }
});

scenario('tags', async clients => {
  const producer = await clients.producer();
  const topic = await clients.topic(producer);
  const wanted = [];
  for (let i = 0; i < 24; i++) {
    const tag = 'ABC'[i % 3];
    await send(producer, new Message(topic, tag, `${tag}-${i}`));
    if (tag !== 'C') wanted.push(`${tag}-${i}`);
  }
  const inbox = new Inbox();
  await clients.consumer(topic, 'A || B', inbox.handler);
  await inbox.exactly(wanted);
});

scenario('delay level', async clients => {
  const producer = await clients.producer();
  const topic = await clients.topic(producer);
  const inbox = new Inbox();
  await clients.consumer(topic, '*', inbox.handler);
  const msg = new Message(topic, 'D', 'delayed');
  msg.delayTimeLevel = 1;
  const sent = Date.now();
  await send(producer, msg);
  await send(producer, new Message(topic, 'N', 'at once'));
  await within('both messages', () => inbox.msgs.length >= 2);
  const took = Date.now() - sent;
  assert.deepEqual(inbox.bodies, [ 'at once', 'delayed' ]);
  assert.ok(took > 900 && took < 10000, `took ${took} ms`);
  assert.equal(inbox.msgs[1].topic, topic);
  assert.equal(inbox.msgs[1].tags, 'D');
});

scenario('queue selection by sharding key', async clients => {
  const producer = await clients.producer();
  const topic = await clients.topic(producer);
  for (const key of [ 'alpha', 'beta', 'gamma', 'delta', 'epsilon' ]) {
    const queue = crypto.createHash('md5').update(key).digest().readUInt32BE() % 4;
    for (let i = 0; i < 4; i++) {
      const msg = new Message(topic, 'S', `${key}-${i}`);
      msg.shardingKey = key;
      const { messageQueue } = await send(producer, msg);
      // The client takes queue 0 for "no choice".
      if (queue !== 0) assert.equal(Number(messageQueue.queueId), queue);
    }
  }
});

scenario('broadcast', async clients => {
  const producer = await clients.producer();
  const topic = await clients.topic(producer);
  const consumerGroup = unique('cgroup');
  const inboxes = [ new Inbox(), new Inbox() ];
  for (const inbox of inboxes) {
    await clients.consumer(topic, '*', inbox.handler, { consumerGroup, isBroadcast: true });
  }
  const bodies = numbered('broadcast', 20);
  for (const body of bodies) await send(producer, new Message(topic, 'B', body));
  for (const inbox of inboxes) await inbox.exactly(bodies);
});

scenario('a group shares queues and one takes over', async clients => {
  const producer = await clients.producer();
  const topic = await clients.topic(producer);
  const consumerGroup = unique('cgroup');
  const one = new Inbox();
  const two = new Inbox();
  const first = await clients.consumer(topic, '*', one.handler, { consumerGroup });
  await clients.consumer(topic, '*', two.handler, { consumerGroup });
  let round = 0;
  const sent = [];
  // Sends a message to each queue in turn; how many came to each consumer.
  const queues = async () => {
    round++;
    const bodies = numbered(`r${round}`, 4);
    for (const body of bodies) await send(producer, new Message(topic, 'G', body));
    sent.push(...bodies);
    await within('all of a round', () => bodies.every(body => one.bodies.includes(body) || two.bodies.includes(body)));
    return [ one, two ].map(inbox => bodies.filter(body => inbox.bodies.includes(body)).length).join();
  };
  await within('two queues each', async () => await queues() === '2,2');
  await clients.shut(first);
  await within('all queues at the one left', async () => await queues() === '0,4');
  for (const body of sent) assert.ok(one.bodies.includes(body) || two.bodies.includes(body), body);
});

scenario('retry', async clients => {
  const producer = await clients.producer();
  const topic = await clients.topic(producer);
  const inbox = new Inbox(msg => (msg.reconsumeTimes === 0 ? Consumer.ACTION_RETRY : undefined));
  await clients.consumer(topic, '*', inbox.handler);
  const msg = new Message(topic, 'R', 'again');
  msg.keys = [ 'retry-key' ];
  await send(producer, msg);
  // The client leaves the delay to the broker: 10 seconds at first.
  await within('two arrivals', () => inbox.msgs.length >= 2, 60000);
  assert.deepEqual(inbox.bodies, [ 'again', 'again' ]);
  assert.deepEqual(inbox.msgs.map(got => got.reconsumeTimes), [ 0, 1 ]);
  assert.deepEqual(inbox.msgs.map(got => got.topic), [ topic, topic ]);
  assert.equal(inbox.msgs[1].tags, 'R');
  assert.equal(inbox.msgs[1].keys, 'retry-key');
});

scenario('a group goes on where it stopped', async clients => {
  const producer = await clients.producer();
  const topic = await clients.topic(producer);
  const consumerGroup = unique('cgroup');
  for (const part of [ 'one', 'two' ]) {
    const bodies = numbered(part, 20);
    for (const body of bodies) await send(producer, new Message(topic, 'G', body));
    const inbox = new Inbox();
    const consumer = await clients.consumer(topic, '*', inbox.handler, { consumerGroup });
    await inbox.exactly(bodies);
    await clients.shut(consumer);
  }
});
