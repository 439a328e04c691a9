package route

import "strings"

// readings gives the two ways in which a path may be understood downstream: as sent, where only '/' splits
// segments and dots are just characters, and clean, fully decoded and without dot segments. They are the
// same string for nearly every request.
func readings(raw string) (sent, clean string, err error) {
	if plain(raw) {
		return raw, raw, nil
	}
	if raw == "" || raw[0] != '/' {
		return "", "", ErrBadPath
	}
	s, c := make([]byte, 0, len(raw)), make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		b := raw[i]
		if b == '%' {
			if i+2 >= len(raw) {
				return "", "", ErrBadPath
			}
			hi, ok1 := unhex(raw[i+1])
			lo, ok2 := unhex(raw[i+2])
			if !ok1 || !ok2 {
				return "", "", ErrBadPath
			}
			b = hi<<4 | lo
			i += 2
			if b == '/' || b == '\\' {
				s = append(s, '%', "0123456789ABCDEF"[hi], "0123456789ABCDEF"[lo])
				c = append(c, '/')
				continue
			}
		}
		if b == 0 {
			return "", "", ErrBadPath
		}
		s = append(s, b)
		if b == '\\' {
			b = '/'
		}
		c = append(c, b)
	}
	c, ok := removeDots(c)
	if !ok {
		return "", "", ErrBadPath
	}
	sent = string(s)
	if sent == string(c) {
		return sent, sent, nil
	}
	return sent, string(c), nil
}

// plain says that a path can be read in one way only, and needs no decoding.
func plain(p string) bool {
	if p == "" || p[0] != '/' {
		return p == "*"
	}
	for i := range len(p) {
		switch p[i] {
		case '%', '\\', 0:
			return false
		case '.':
			if p[i-1] == '/' { // p[0] is '/', so i > 0
				return false
			}
		}
	}
	return true
}

// removeDots is RFC 3986 §5.2.4 in place, but for a path that climbs above the root: there is no harmless
// reason to send one.
func removeDots(p []byte) ([]byte, bool) {
	out := p[:0]
	for rest := p; len(rest) > 0; {
		// rest begins with '/'; take one segment.
		n := 1
		for n < len(rest) && rest[n] != '/' {
			n++
		}
		seg, last := rest[1:n], n == len(rest)
		switch {
		case len(seg) == 1 && seg[0] == '.':
			if last {
				out = append(out, '/')
			}
		case len(seg) == 2 && seg[0] == '.' && seg[1] == '.':
			k := len(out) - 1
			for k >= 0 && out[k] != '/' {
				k--
			}
			if k < 0 {
				return nil, false
			}
			out = out[:k]
			if last {
				out = append(out, '/')
			}
		default:
			out = append(out, rest[:n]...) // never overtakes the reading position
		}
		rest = rest[n:]
	}
	return out, true
}

func unhex(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// unescape decodes a part of a query; what is no valid escape stays as it is.
func unescape(s string) string {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		b := s[i]
		if b == '+' {
			b = ' '
		} else if b == '%' && i+2 < len(s) {
			hi, ok1 := unhex(s[i+1])
			lo, ok2 := unhex(s[i+2])
			if ok1 && ok2 {
				b = hi<<4 | lo
				i += 2
			}
		}
		out = append(out, b)
	}
	return string(out)
}

// normalHost gives the form in which hosts are compared: lower case, without port, brackets or a final dot.
func normalHost(h string) string {
	if len(h) > 0 && h[0] == '[' {
		if k := strings.IndexByte(h, ']'); k > 0 {
			return strings.ToLower(h[1:k])
		}
	}
	if k := strings.LastIndexByte(h, ':'); k >= 0 && strings.IndexByte(h[:k], ':') < 0 {
		h = h[:k]
	}
	return strings.ToLower(strings.TrimSuffix(h, "."))
}
