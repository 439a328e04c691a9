package accesslog

import (
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/lbnode/lbnode/proxy"
)

// appendEntry appends a line. Every line has every field, in this order, so that tools need no schema.
func appendEntry(dst []byte, node string, e *proxy.Entry) []byte {
	client := ""
	if e.Client.IsValid() {
		client = e.Client.String()
	}
	dst = append(dst, `{"time":"`...)
	dst = e.Start.UTC().AppendFormat(dst, "2006-01-02T15:04:05.000Z")
	dst = append(dst, '"')
	for _, f := range [...]struct{ name, value string }{
		{"node", node}, {"client", client}, {"method", e.Method}, {"host", e.Host}, {"path", e.Path}, {"protocol", e.Proto},
	} {
		dst = appendString(dst, f.name, f.value)
	}
	dst = appendNumber(dst, "status", uint64(max(e.Status, 0)))
	dst = appendNumber(dst, "bytes_in", e.BytesIn)
	dst = appendNumber(dst, "bytes_out", e.BytesOut)
	dst = appendMillis(dst, "duration_ms", e.Duration)
	dst = appendString(dst, "route", e.Route)
	dst = appendString(dst, "pool", e.Pool)
	dst = appendString(dst, "frontend", e.Frontend)
	dst = appendString(dst, "backend", e.Backend)
	dst = appendString(dst, "backend_address", e.Address)
	dst = appendMillis(dst, "upstream_ms", e.Upstream)
	dst = appendMillis(dst, "first_byte_ms", e.FirstByte)
	dst = appendNumber(dst, "attempts", uint64(max(e.Attempts, 0)))
	dst = appendNumber(dst, "retries", uint64(max(e.Attempts-1, 0)))
	dst = appendString(dst, "result", e.Result.String())
	dst = appendString(dst, "reason", e.Reason)
	dst = appendString(dst, "request_id", e.RequestID)
	dst = appendString(dst, "trace_id", e.TraceID)
	return append(dst, "}\n"...)
}

func appendKey(dst []byte, key string) []byte {
	dst = append(dst, ',', '"')
	dst = append(dst, key...)
	return append(dst, '"', ':')
}

func appendNumber(dst []byte, key string, n uint64) []byte {
	return strconv.AppendUint(appendKey(dst, key), n, 10)
}

// appendMillis writes milliseconds with three decimals, which is microseconds.
func appendMillis(dst []byte, key string, d time.Duration) []byte {
	return strconv.AppendFloat(appendKey(dst, key), float64(max(d, 0).Microseconds())/1000, 'f', 3, 64)
}

// appendString writes a string that came from anywhere as JSON (RFC 8259 §7). What is no UTF-8 is replaced.
func appendString(dst []byte, key, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(appendKey(dst, key), '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			switch {
			case c == '"' || c == '\\':
				dst = append(dst, '\\', c)
			case c < ' ' || c == 0x7f:
				dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			default:
				dst = append(dst, c)
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		dst = utf8.AppendRune(dst, r)
		i += n
	}
	return append(dst, '"')
}
