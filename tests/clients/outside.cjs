// Node's libraries ask no proxy: loaded before an agent, this tells ours where they want to go, and
// lets them through to this machine only.
const net = require("node:net");

const connect = net.Socket.prototype.connect;
const outside = new URL(process.env.HTTPS_PROXY);
const DISCARD = 9;
const HERE = new Set(["127.0.0.1", "::1", "localhost"]);

net.Socket.prototype.connect = function (...given) {
  const wanted = Array.isArray(given[0]) ? given[0] : given; // normalised by net.connect, or not
  const named = typeof wanted[0] === "object" ? wanted[0] : { port: wanted[0], host: wanted[1] };
  const host = named.host ?? "localhost";
  if (named.path || HERE.has(host)) return connect.apply(this, given);
  connect.call(new net.Socket(), Number(outside.port), outside.hostname).end(`CONNECT ${host}\r\n`);
  return connect.call(this, { port: DISCARD, host: outside.hostname }); // is refused
};
