"""The published C++ client of Apache RocketMQ, through its Python package, against Kerolox."""

import itertools
import os
import threading
import time
import uuid

import pytest
from rocketmq import ffi
from rocketmq.client import Message, MessageModel, Producer, PullConsumer, PushConsumer, RecvMessage, SendStatus

# How long a condition may take to come true. Far longer than a healthy broker needs.
PATIENCE = 40

_run = uuid.uuid4().hex[:10]
_count = itertools.count()


def unique(kind):
    """A topic, group or instance name that no other test or run has."""
    return f"cpp-{kind}-{_run}-{next(_count)}"


def within(what, condition, patience=PATIENCE):
    """Waits until the condition holds."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"not within {patience} s: {what}"
        time.sleep(0.02)


def message(topic, body, tags=None, keys=None, **properties):
    msg = Message(topic)
    msg.set_body(body)
    if tags is not None:
        msg.set_tags(tags)
    if keys is not None:
        msg.set_keys(keys)
    for name, value in properties.items():
        msg.set_property(name, value)
    return msg


class Received:
    """A message copied while its handler runs: the client frees the original afterwards."""

    def __init__(self, msg):
        self.topic = msg.topic
        self.body = msg.body.decode()
        self.tags = (msg.tags or b"").decode()
        self.keys = (msg.keys or b"").decode()
        self.id = msg.id
        self.queue_id = msg.queue_id
        self.queue_offset = msg.queue_offset
        self.reconsume_times = msg.reconsume_times
        self.born = msg.born_timestamp
        self.stored = msg.store_timestamp
        self.message = {name: (msg[name] or b"").decode() for name in ("price", "naïve ключ")}


class Inbox:
    """Collects what a consumer is handed."""

    def __init__(self):
        self.lock = threading.Lock()
        self.msgs = []

    def __call__(self, msg):
        received = Received(msg)
        with self.lock:
            self.msgs.append(received)

    def all(self):
        with self.lock:
            return list(self.msgs)

    def bodies(self):
        return [msg.body for msg in self.all()]

    def wait_exactly(self, bodies):
        """Waits for these messages and nothing else, each once."""
        within(f"{len(bodies)} messages", lambda: len(self.all()) >= len(bodies))
        assert sorted(self.bodies()) == sorted(bodies)


@pytest.fixture
def clients():
    """Shuts down the producers and consumers of a test at its end."""
    started = []
    yield started
    for client in reversed(started):
        client.shutdown()


def start_producer(clients, broker):
    producer = Producer(unique("pgroup"))
    producer.set_namesrv_addr(broker.namesrv)
    producer.start()
    clients.append(producer)
    return producer


def start_consumer(clients, broker, topic, handler, tags="*", group=None, **options):
    consumer = PushConsumer(group or unique("cgroup"), **options)
    consumer.set_namesrv_addr(broker.namesrv)
    consumer.set_instance_name(unique("instance"))
    consumer.subscribe(topic, handler, tags)
    consumer.start()
    clients.append(consumer)
    return consumer


def send(producer, msg):
    result = producer.send_sync(msg)
    assert result.status == SendStatus.OK
    assert result.msg_id
    return result


def test_send_sync_and_consume_exactly(broker, clients):
    topic = unique("topic")
    producer = start_producer(clients, broker)
    bodies = [f"sync-{i}" for i in range(20)] + ["héllo wörld ✓ 你好 😀", "big body " * 10000]
    for i, body in enumerate(bodies):
        msg = message(topic, body, "täg", f"key-{i} schlüssel-钥匙", **{"price": "42", "naïve ключ": "wert ✓ 值 😀"})
        send(producer, msg)
    inbox = Inbox()
    start_consumer(clients, broker, topic, inbox)
    inbox.wait_exactly(bodies)
    for got in inbox.all():
        assert got.topic == topic
        assert got.tags == "täg"
        assert got.keys == f"key-{bodies.index(got.body)} schlüssel-钥匙"
        assert got.message == {"price": "42", "naïve ключ": "wert ✓ 值 😀"}
        assert got.id and got.born > 0 and got.stored > 0 and got.reconsume_times == 0


def test_send_async(broker, clients):
    topic = unique("topic")
    producer = start_producer(clients, broker)
    send(producer, message(topic, "first"))
    sent, failed = [], []
    bodies = [f"async-{i}" for i in range(30)]
    msgs = [message(topic, body) for body in bodies]
    for msg in msgs:
        producer.send_async(msg, sent.append, failed.append)
    within("30 answers", lambda: len(sent) + len(failed) == len(bodies))
    assert not failed
    assert all(result.status == SendStatus.OK for result in sent)
    inbox = Inbox()
    start_consumer(clients, broker, topic, inbox)
    inbox.wait_exactly(["first", *bodies])


def test_send_oneway(broker, clients):
    topic = unique("topic")
    producer = start_producer(clients, broker)
    send(producer, message(topic, "first"))
    bodies = [f"oneway-{i}" for i in range(20)]
    for body in bodies:
        producer.send_oneway(message(topic, body))
    inbox = Inbox()
    start_consumer(clients, broker, topic, inbox)
    inbox.wait_exactly(["first", *bodies])


def test_send_batch(broker, clients):
    """A batch is acknowledged and does no harm to what comes after it.

    This client marks a batch with "batch":"1". Apache's broker knows only "true", so it
    stores the encoded batch as one message, whose body (with zero bytes) this package then
    shows as empty. A broker that understands the mark stores the messages one by one.
    """
    topic = unique("topic")
    producer = start_producer(clients, broker)
    send(producer, message(topic, "first"))
    bodies = [f"batch-{i}" for i in range(20)]
    msgs = [message(topic, body, "T", f"k-{body}") for body in bodies]
    assert producer.send_batch(msgs).status == SendStatus.OK
    for i in range(8):
        send(producer, message(topic, f"after-{i}"))
    inbox = Inbox()
    start_consumer(clients, broker, topic, inbox)
    others = ["first"] + [f"after-{i}" for i in range(8)]
    within("one message more than those sent alone", lambda: len(inbox.all()) > len(others))
    within("all sent alone", lambda: set(others) <= set(inbox.bodies()))
    if "" in inbox.bodies():
        inbox.wait_exactly([*others, ""])
    else:
        inbox.wait_exactly([*others, *bodies])


def test_tag_filter(broker, clients):
    topic = unique("topic")
    producer = start_producer(clients, broker)
    tags = ["A", "B", "C"] * 8
    for i, tag in enumerate(tags):
        send(producer, message(topic, f"{tag}-{i}", tag))
    inbox = Inbox()
    start_consumer(clients, broker, topic, inbox, "A || B")
    inbox.wait_exactly([f"{tag}-{i}" for i, tag in enumerate(tags) if tag != "C"])


def test_delay_level(broker, clients):
    topic = unique("topic")
    producer = start_producer(clients, broker)
    inbox = Inbox()
    send(producer, message(topic, "first"))
    start_consumer(clients, broker, topic, inbox)
    within("the first message", lambda: inbox.bodies() == ["first"])
    delayed = message(topic, "delayed", "D")
    delayed.set_delay_time_level(1)
    sent = time.monotonic()
    send(producer, delayed)
    send(producer, message(topic, "at once"))
    within("both messages", lambda: len(inbox.all()) >= 3)
    took = time.monotonic() - sent
    assert inbox.bodies() == ["first", "at once", "delayed"]
    assert 0.9 < took < 10
    assert inbox.all()[2].topic == topic
    assert inbox.all()[2].tags == "D"


def test_ordered_consume(broker, clients):
    topic = unique("topic")
    producer = start_producer(clients, broker)
    keys = range(6)
    for i in range(15):
        for key in keys:
            result = producer.send_orderly(message(topic, f"{key}-{i}"), key)
            assert result.status == SendStatus.OK
    inbox = Inbox()
    start_consumer(clients, broker, topic, inbox, orderly=True)
    inbox.wait_exactly([f"{key}-{i}" for key in keys for i in range(15)])
    for key in keys:
        mine = [got for got in inbox.all() if got.body.startswith(f"{key}-")]
        assert [got.body for got in mine] == [f"{key}-{i}" for i in range(15)]
        assert len({got.queue_id for got in mine}) == 1


def test_broadcast(broker, clients):
    topic = unique("topic")
    group = unique("cgroup")
    producer = start_producer(clients, broker)
    send(producer, message(topic, "first"))
    inboxes = [Inbox(), Inbox()]
    for inbox in inboxes:
        start_consumer(clients, broker, topic, inbox, group=group, message_model=MessageModel.BROADCASTING)
    # A broadcasting consumer begins at the end of the queues, at a moment that the client
    # doesn't tell: send until each got one, and from then on each must get all.
    probes = itertools.count()

    def probe():
        send(producer, message(topic, f"probe-{next(probes)}"))
        return all(len({got.queue_id for got in inbox.all()}) == 4 for inbox in inboxes)

    within("messages of all queues at both", probe)
    bodies = [f"broadcast-{i}" for i in range(20)]
    for body in bodies:
        send(producer, message(topic, body))
    for inbox in inboxes:
        within("all at each", lambda: sum(b.startswith("broadcast-") for b in inbox.bodies()) >= len(bodies))
        assert sorted(b for b in inbox.bodies() if b.startswith("broadcast-")) == sorted(bodies)


def test_group_shares_queues_and_takes_over(broker, clients):
    topic = unique("topic")
    group = unique("cgroup")
    producer = start_producer(clients, broker)
    send(producer, message(topic, "first"))
    one, two = Inbox(), Inbox()
    first = start_consumer(clients, broker, topic, one, group=group)
    start_consumer(clients, broker, topic, two, group=group)
    rounds = itertools.count()
    sent = []

    def queues():
        """Sends one message to each of the 4 queues; how many came to each consumer."""
        number = next(rounds)
        bodies = [f"r{number}-{queue}" for queue in range(4)]
        for queue, body in enumerate(bodies):
            producer.send_orderly(message(topic, body), queue)
        sent.extend(bodies)
        within("all of a round", lambda: set(bodies) <= set(one.bodies()) | set(two.bodies()))
        return len(set(bodies) & set(one.bodies())), len(set(bodies) & set(two.bodies()))

    within("two queues each", lambda: queues() == (2, 2))
    clients.remove(first)
    first.shutdown()
    within("all queues at the one left", lambda: queues() == (0, 4))
    assert set(sent) <= set(one.bodies()) | set(two.bodies())


def test_retry(broker, clients):
    topic = unique("topic")
    producer = start_producer(clients, broker)
    send(producer, message(topic, "again", "R", "retry-key"))
    inbox = Inbox()

    # The package's own subscribe() turns an exception into success (its "raise" replaces the
    # return value), so the answer is given by the callback itself.
    def callback(_consumer, handle):
        msg = RecvMessage(handle)
        inbox(msg)
        return 1 if msg.reconsume_times == 0 else 0

    consumer = PushConsumer(unique("cgroup"))
    consumer.set_namesrv_addr(broker.namesrv)
    consumer.set_instance_name(unique("instance"))
    ffi.dll.Subscribe(consumer._handle, topic.encode(), b"*")
    consumer._register_callback(callback)
    consumer.start()
    clients.append(consumer)
    within("two arrivals", lambda: len(inbox.all()) >= 2, 60)
    assert [got.body for got in inbox.all()] == ["again", "again"]
    assert [got.reconsume_times for got in inbox.all()] == [0, 1]
    assert inbox.all()[1].topic == topic
    assert inbox.all()[1].tags == "R"
    assert inbox.all()[1].keys == "retry-key"


def test_pull_consumer(broker, clients):
    topic = unique("topic")
    producer = start_producer(clients, broker)
    bodies = [f"pull-{i}" for i in range(40)]
    for i, body in enumerate(bodies):
        send(producer, message(topic, body, "AB"[i % 2]))
    for tags, wanted in (("*", bodies), ("B", bodies[1::2])):
        consumer = PullConsumer(unique("cgroup"))
        consumer.offset_table = {}  # the package shares one among all pull consumers
        consumer.set_namesrv_addr(broker.namesrv)
        consumer.start()
        clients.append(consumer)
        got = [msg.body.decode() for msg in consumer.pull(topic, tags, max_num=7)]
        assert sorted(got) == sorted(wanted)


@pytest.mark.skipif("KEROLOX_TEST_NAMESRV" in os.environ, reason="a cluster that runs already is not restarted")
def test_restart(own_broker, clients):
    """kill -9 while a producer sends and a consumer reads: all that was acknowledged comes."""
    topic = unique("topic")
    producer = start_producer(clients, own_broker)
    send(producer, message(topic, "first"))
    inbox = Inbox()
    start_consumer(clients, own_broker, topic, inbox)
    acked = ["first"]
    stop = threading.Event()

    def produce():
        for i in itertools.count():
            if stop.is_set():
                return
            try:
                send(producer, message(topic, f"restart-{i}"))
            except Exception:
                time.sleep(0.05)
            else:
                acked.append(f"restart-{i}")
                time.sleep(0.002)

    thread = threading.Thread(target=produce, daemon=True)
    thread.start()
    try:
        within("200 sends before", lambda: len(acked) >= 200)
        own_broker.kill()
        own_broker.start()
        before = len(acked)
        within("200 sends after", lambda: len(acked) >= before + 200, 60)
    finally:
        stop.set()
        thread.join()
    within("all acknowledged messages", lambda: set(acked) <= set(inbox.bodies()), 90)
    # A new group reads everything from the start of the same data.
    again = Inbox()
    start_consumer(clients, own_broker, topic, again)
    within("all of it for a new group", lambda: set(acked) <= set(again.bodies()))
