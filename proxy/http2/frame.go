package http2

import "encoding/binary"

// Preface begins a client's connection (RFC 9113 §3.4).
const Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// Bounds of the protocol.
const (
	HeaderSize   = 9         // of a frame header
	DefaultFrame = 16 << 10  // largest payload unless SETTINGS_MAX_FRAME_SIZE says otherwise
	MaxWindow    = 1<<31 - 1 // of flow control, RFC 9113 §6.9.1
	FirstWindow  = 65535     // of a new connection, and of its streams unless SETTINGS_INITIAL_WINDOW_SIZE says otherwise
	maxFrame     = 1<<24 - 1
)

// Type is the type of a frame (RFC 9113 §6).
type Type uint8

// The types of frames.
const (
	Data Type = iota
	Headers
	Priority
	ResetStream
	Settings
	PushPromise
	Ping
	GoAway
	WindowUpdate
	Continuation
)

// Flags of frames. Each means something for some types only.
const (
	FlagEndStream  = 0x1  // Data, Headers
	FlagAck        = 0x1  // Settings, Ping
	FlagEndHeaders = 0x4  // Headers, Continuation
	FlagPadded     = 0x8  // Data, Headers
	FlagPriority   = 0x20 // Headers
)

// ErrCode says why a stream or a connection ends (RFC 9113 §7). NoError is no error.
type ErrCode uint32

// The error codes.
const (
	NoError ErrCode = iota
	ProtocolError
	InternalError
	FlowControlError
	SettingsTimeout
	StreamClosed
	FrameSizeError
	RefusedStream
	Cancel
	CompressionError
	ConnectError
	EnhanceYourCalm
	InadequateSecurity
	HTTP11Required
)

// FrameHeader is what each frame begins with (RFC 9113 §4.1).
type FrameHeader struct {
	Length int // of the payload, up to 2^24-1
	Type   Type
	Flags  uint8
	Stream uint32 // 31 bits; 0 = the connection
}

// ParseFrameHeader reads a frame header from the first HeaderSize bytes of b.
func ParseFrameHeader(b []byte) FrameHeader {
	_ = b[8]
	return FrameHeader{
		Length: int(b[0])<<16 | int(b[1])<<8 | int(b[2]), Type: Type(b[3]), Flags: b[4],
		Stream: binary.BigEndian.Uint32(b[5:]) & MaxWindow,
	}
}

// AppendFrameHeader appends a frame header.
func AppendFrameHeader(dst []byte, h FrameHeader) []byte {
	dst = append(dst, byte(h.Length>>16), byte(h.Length>>8), byte(h.Length), byte(h.Type), h.Flags)
	return binary.BigEndian.AppendUint32(dst, h.Stream)
}

// SetLength writes the length of the frame that begins at b, once it is known.
func SetLength(b []byte, n int) { b[0], b[1], b[2] = byte(n>>16), byte(n>>8), byte(n) }

// Unpad takes the padding off the payload of a padded Data or Headers frame; false: there is more padding than
// payload, which is a connection error (RFC 9113 §6.1).
func Unpad(p []byte) ([]byte, bool) {
	if len(p) == 0 || int(p[0]) >= len(p) {
		return nil, false
	}
	return p[1 : len(p)-int(p[0])], true
}

// ID names a setting (RFC 9113 §6.5.2).
type ID uint16

// The settings.
const (
	HeaderTableSize       ID = 1
	EnablePush            ID = 2
	MaxConcurrentStreams  ID = 3
	InitialWindowSize     ID = 4
	MaxFrameSize          ID = 5
	MaxHeaderListSize     ID = 6
	EnableConnectProtocol ID = 8 // RFC 8441
	NoPriorities          ID = 9 // RFC 9218
)

// Setting is one value of a SETTINGS frame.
type Setting struct {
	ID    ID
	Value uint32
}

// settingSize is that of a setting on the wire.
const settingSize = 6

// ParseSetting reads the setting at the beginning of p, of which a frame's payload holds one after the other,
// and gives the rest. An error code is a connection error: a payload that is no list of settings, or a value that
// its setting cannot have. Unknown settings have no wrong values.
func ParseSetting(p []byte) (Setting, []byte, ErrCode) {
	if len(p) < settingSize {
		return Setting{}, nil, FrameSizeError
	}
	s := Setting{ID(binary.BigEndian.Uint16(p)), binary.BigEndian.Uint32(p[2:])}
	code := NoError
	switch {
	case s.ID == EnablePush && s.Value > 1, s.ID == EnableConnectProtocol && s.Value > 1:
		code = ProtocolError
	case s.ID == InitialWindowSize && s.Value > MaxWindow:
		code = FlowControlError
	case s.ID == MaxFrameSize && (s.Value < DefaultFrame || s.Value > maxFrame):
		code = ProtocolError
	}
	return s, p[settingSize:], code
}

// AppendSettings appends a SETTINGS frame.
func AppendSettings(dst []byte, list ...Setting) []byte {
	dst = AppendFrameHeader(dst, FrameHeader{Length: settingSize * len(list), Type: Settings})
	for _, s := range list {
		dst = binary.BigEndian.AppendUint16(dst, uint16(s.ID))
		dst = binary.BigEndian.AppendUint32(dst, s.Value)
	}
	return dst
}

// AppendSettingsAck appends the acknowledgement of a SETTINGS frame.
func AppendSettingsAck(dst []byte) []byte {
	return AppendFrameHeader(dst, FrameHeader{Type: Settings, Flags: FlagAck})
}

// AppendPing appends a PING frame; flags is 0 or FlagAck.
func AppendPing(dst []byte, flags uint8, data [8]byte) []byte {
	dst = AppendFrameHeader(dst, FrameHeader{Length: len(data), Type: Ping, Flags: flags})
	return append(dst, data[:]...)
}

// AppendGoAway appends a GOAWAY frame without debug data.
func AppendGoAway(dst []byte, last uint32, code ErrCode) []byte {
	dst = AppendFrameHeader(dst, FrameHeader{Length: 8, Type: GoAway})
	dst = binary.BigEndian.AppendUint32(dst, last)
	return binary.BigEndian.AppendUint32(dst, uint32(code))
}

// AppendReset appends a RST_STREAM frame.
func AppendReset(dst []byte, stream uint32, code ErrCode) []byte {
	dst = AppendFrameHeader(dst, FrameHeader{Length: 4, Type: ResetStream, Stream: stream})
	return binary.BigEndian.AppendUint32(dst, uint32(code))
}

// AppendWindowUpdate appends a WINDOW_UPDATE frame; n is 1..MaxWindow.
func AppendWindowUpdate(dst []byte, stream, n uint32) []byte {
	dst = AppendFrameHeader(dst, FrameHeader{Length: 4, Type: WindowUpdate, Stream: stream})
	return binary.BigEndian.AppendUint32(dst, n)
}

// Uint31 reads the 31-bit number that the payloads of several frames begin with.
func Uint31(p []byte) uint32 { return binary.BigEndian.Uint32(p) & MaxWindow }
