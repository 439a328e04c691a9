package health

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"
)

// maxReason bounds the text of a failure, in bytes, so that observations stay small on the wire.
const maxReason = 96

// Reason puts an error of live traffic into the words that a probe would use for the same cause, for
// [Health.Passive].
func Reason(err error) string {
	if err == nil {
		return ""
	}
	return reasonOf(err, 0)
}

// reasonOf says in a few words why a probe failed, without addresses: the reader knows which backend it is
// about, and equal causes on several nodes should read alike.
func reasonOf(err error, timeout time.Duration) string {
	var (
		errno syscall.Errno
		dns   *net.DNSError
		cert  *tls.CertificateVerificationError
		netEr net.Error
	)
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.As(err, &netEr) && netEr.Timeout():
		if timeout <= 0 {
			return "no answer in time"
		}
		return fmt.Sprintf("no answer within %s", timeout)
	case errors.As(err, &errno):
		return errno.Error()
	case errors.As(err, &dns):
		if dns.IsNotFound {
			return "no such host"
		}
		return clip("name lookup failed: " + dns.Err)
	case errors.As(err, &cert):
		return clip("TLS: " + cert.Err.Error())
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed before an answer"
	}
	return clip(err.Error())
}

// clip makes a text printable, valid UTF-8 and at most maxReason bytes long.
func clip(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return ' '
		}
		return r
	}, s)
	if len(s) <= maxReason {
		return s
	}
	cut := maxReason
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut]
}
