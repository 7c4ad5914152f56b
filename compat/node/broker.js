'use strict';

// Starting, killing and stopping the broker under test.

const { spawn } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { setTimeout: sleep } = require('node:timers/promises');

const external = process.env.KEROLOX_TEST_NAMESRV;

// A Kerolox process, or a cluster that already runs (which can't be restarted).
class Broker {
  constructor() {
    this.nameSrv = external;
    this.ports = {};
    this.dir = null;
    this.process = null;
  }

  static async launch() {
    const broker = new Broker();
    if (!external) {
      if (!process.env.KEROLOX_TEST_BIN) {
        throw new Error('set KEROLOX_TEST_BIN to the kerolox binary, or KEROLOX_TEST_NAMESRV to host:port of a running cluster');
      }
      broker.dir = fs.mkdtempSync(path.join(os.tmpdir(), 'kerolox-compat-node-'));
      try {
        await broker.start();
      } catch (err) {
        await broker.stop().catch(() => {});
        throw err;
      }
    }
    return broker;
  }

  // Runs the process until it is ready; after kill() on the same data and ports.
  async start() {
    const portsFile = path.join(this.dir, 'ports.json');
    fs.rmSync(portsFile, { force: true });
    const args = [ 'server', '--data-dir', path.join(this.dir, 'data'), '--ports-file', portsFile ];
    for (const name of [ 'namesrv', 'broker', 'grpc', 'proxy', 'http' ]) {
      args.push(`--${name}-port`, String(this.ports[name] || 0));
    }
    const log = fs.openSync(path.join(this.dir, 'stderr.txt'), 'a');
    const child = spawn(process.env.KEROLOX_TEST_BIN, args, { stdio: [ 'ignore', log, log ] });
    fs.closeSync(log);
    this.process = child;
    this.exited = new Promise(resolve => {
      child.once('exit', resolve);
      child.once('error', resolve);
    });
    this.ended = false;
    this.exited.then(() => {
      if (this.process === child) this.ended = true;
    });
    const deadline = Date.now() + 30000;
    while (!fs.existsSync(portsFile)) {
      if (this.ended) throw new Error(`the broker ended before it was ready\n${this.stderrTail()}`);
      if (Date.now() > deadline) throw new Error(`the broker was not ready in 30 s\n${this.stderrTail()}`);
      await sleep(20);
    }
    this.ports = JSON.parse(fs.readFileSync(portsFile, 'utf8'));
    this.nameSrv = `127.0.0.1:${this.ports.namesrv}`;
  }

  // Ends the process at once, as a power cut would.
  async kill() {
    this.process.kill('SIGKILL');
    await this.exited;
  }

  // Ends the process in order and removes its files.
  async stop() {
    if (!this.dir) return;
    try {
      if (!this.process) return;
      if (this.ended) throw new Error(`the broker had ended by itself\n${this.stderrTail()}`);
      this.process.kill('SIGTERM');
      const late = sleep(20000, 'late', { ref: false });
      if (await Promise.race([ this.exited, late ]) === 'late') {
        const tail = this.stderrTail();
        await this.kill();
        throw new Error(`the broker did not end in 20 s after SIGTERM\n${tail}`);
      }
    } finally {
      fs.rmSync(this.dir, { recursive: true, force: true });
    }
  }

  stderrTail() {
    if (!this.dir) return '';
    return 'end of the broker\'s stderr:\n' + fs.readFileSync(path.join(this.dir, 'stderr.txt'), 'utf8').slice(-4000);
  }
}

module.exports = { Broker, external };
