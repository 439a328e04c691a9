// Package strictjson reads what people write: it decodes one JSON object into a struct and reports everything
// that is wrong with it at once, each with a JSON Pointer (RFC 6901) and words that say what would be right.
//
// It refuses what encoding/json lets pass: unknown fields (names are compared exactly, with a suggestion),
// duplicate keys, null where a value belongs, numbers that do not fit, text that is not UTF-8, halves of
// surrogate pairs, more levels than [MaxDepth], and anything after the object. The types that it fills are
// those that encoding/json would fill with the same result.
//
// The main function is [Decode]; [Errors] is what it returns.
package strictjson
