// Package portable is the proxy engine that stands on net/http. It runs wherever Go does.
//
// [Engine] serves HTTP/1.1 and HTTP/2 in clear text (prior knowledge) on plain listeners, and HTTP/1.1 and
// HTTP/2 by ALPN on TLS listeners. HTTP/1.1 connections are read through an http1.Reader, so that net/http
// sees no request whose framing is ambiguous: such a request is answered 400 in its turn and the connection
// closes. [Limits] bounds what a client may hold and for how long.
//
// Package node makes an Engine, starts it, drains it and shuts it down; all decisions about requests are
// package proxy's.
package portable
