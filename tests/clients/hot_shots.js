// Sends a known load with hot-shots: node hot_shots.js MODULE PORT [PROTOCOL]
const [module_path, port, protocol = 'udp'] = process.argv.slice(2);
const StatsD = require(module_path);

const client = new StatsD({
  host: '127.0.0.1',
  port: Number(port),
  protocol,
  prefix: 'api.',
  globalTags: { service: 'edge' },
  maxBufferSize: 1400,
  includeDatadogTelemetry: false,
  errorHandler: (error) => {
    console.error(error);
    process.exit(1);
  },
});

for (let n = 0; n < 500; n += 1) {
  client.increment('calls', 1, { route: n % 2 ? '/users' : '/orders' });
}
client.decrement('fallen', 20);
client.gauge('connections', 42);
client.gauge('offset', -7);
for (let n = 0; n < 100; n += 1) {
  client.timing('latency', n, 1, { route: '/users' });
}
for (let n = 0; n < 50; n += 1) {
  client.distribution('bytes', n * 1024);
  client.histogram('rows', n);
}
for (let n = 0; n < 100; n += 1) {
  client.set('users', `user-${n % 25}`);
}
client.close((error) => {
  if (error) {
    console.error(error);
    process.exit(1);
  }
});
