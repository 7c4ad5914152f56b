'use strict';

// kill -9 while a producer sends and a consumer reads: all that was acknowledged comes.

const { test } = require('node:test');
const { Message, Producer } = require('ali-ons');
const { Broker, external } = require('./broker');
const { Clients, Inbox, within, sleep } = require('./clients');

const skip = external ? 'a cluster that runs already is not restarted' : false;

test('restart', { skip }, async t => {
  const broker = await Broker.launch();
  // After hooks run in the order they are made, so what the test opened is closed first.
  const clients = new Clients(t, broker);
  t.after(async () => {
    if (Producer.defaultProducer) await Producer.defaultProducer.close();
    await broker.stop();
  });
  const producer = await clients.producer();
  const topic = await clients.topic(producer);
  const inbox = new Inbox();
  await clients.consumer(topic, '*', inbox.handler);
  const acked = [];
  let stop = false;
  const producing = (async () => {
    for (let i = 0; !stop; i++) {
      try {
        await producer.send(new Message(topic, 'R', `restart-${i}`));
        acked.push(`restart-${i}`);
        await sleep(2);
      } catch {
        await sleep(50);
      }
    }
  })();
  try {
    await within('200 sends before', () => acked.length >= 200);
    await broker.kill();
    await broker.start();
    const before = acked.length;
    await within('200 sends after', () => acked.length >= before + 200);
  } catch (err) {
    console.error(broker.stderrTail());
    throw err;
  } finally {
    stop = true;
    await producing;
  }
  const complete = box => () => {
    const got = new Set(box.bodies);
    return acked.every(body => got.has(body));
  };
  await within('all acknowledged messages', complete(inbox), 90000);
  // A new group reads everything from the start of the same data.
  const again = new Inbox();
  await clients.consumer(topic, '*', again.handler);
  await within('all of it for a new group', complete(again));
});
