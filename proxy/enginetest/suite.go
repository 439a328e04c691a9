package enginetest

import "testing"

const (
	get   = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	hello = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
)

// Run runs the suite on engines made by mk. Cases named in deviations are left out, for the reason given there.
func Run(t *testing.T, mk New, deviations map[string]string) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, New)
	}{
		{"get", testGet},
		{"pipeline", testPipeline},
		{"pipeline_body", testPipelineBody},
		{"post", testPost},
		{"chunked", testChunked},
		{"large", testLarge},
		{"bodiless", testBodiless},
		{"until_close", testUntilClose},
		{"http10", testHTTP10},
		{"truncated", testTruncated},
		{"broken_chunks", testBrokenChunks},
		{"bytes_after_response", testBytesAfter},
		{"bad_response", testBadResponse},
		{"interim", testInterim},
		{"expect", testExpect},
		{"expect_refused", testExpectRefused},
		{"trailers", testTrailers},
		{"stream", testStream},
		{"websocket", testWebSocket},
		{"switch_unasked", testSwitchUnasked},
		{"retry", testRetry},
		{"no_backend", testNoBackend},
		{"keep_alive_race", testKeepAliveRace},
		{"first_byte_timeout", testFirstByte},
		{"total_timeout", testTotal},
		{"slow_head", testSlowHead},
		{"slow_body", testSlowBody},
		{"idle", testIdle},
		{"client_gone", testClientGone},
		{"slow_reader", testSlowReader},
		{"forwarding", testForwarding},
		{"drain", testDrain},
		{"cut off", testCutOff},
		{"fenced", testFenced},
		{"shutdown", testShutdown},
		{"config_change", testConfigChange},
		{"headers", testHeaders},
		{"rewrite", testRewrite},
		{"redirect", testRedirect},
		{"split", testSplit},
		{"mirror", testMirror},
		{"rate_limit", testRateLimit},
		{"proxy_protocol", testProxyProtocol},
		{"proxy_protocol_tls", testProxyProtocolTLS},
		{"proxy_protocol_refused", testProxyProtocolRefused},
		{"corpus", testCorpus},
		{"answers", testAnswers},
		{"connection_cap", testConnectionCap},
		{"client_cap", testClientCap},
		{"client_cap_proxied", testClientCapProxied},
		{"body_rate", testBodyRate},
		{"too_large", testTooLarge},
		{"slow_flood", testSlowFlood},
		{"stalled_reader", testStalledReader},
		{"queue", testQueue},
		{"queue_timeout", testQueueTimeout},
		{"limit_upgraded", testLimitUpgraded},
		{"retry_reset", testRetryReset},
		{"retry_status", testRetryStatus},
		{"retry_timeout", testRetryTimeout},
		{"retry_budget", testRetryBudget},
		{"outlier", testOutlier},
		{"sticky", testSticky},
		{"proxy_protocol_out", testProxyProtocolOut},
		{"idle_timeout", testIdleTimeout},
		{"http2", testHTTP2},
		{"access_log", testAccessLog},
		{"trail", testTrail},
		{"accounting", testAccounting},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if why := deviations[c.name]; why != "" {
				t.Skip(why)
			}
			c.run(t, mk)
		})
	}
}

// refusing gives an address that nobody listens on.
