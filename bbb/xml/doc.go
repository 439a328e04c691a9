// Package xml reads and rewrites the XML of BigBlueButton's API without losing a byte.
//
// [Walk] visits every element of a document once, at its end, with its path and its bytes as they are. [Rewrite]
// replaces the text of chosen elements; everything else, including what no version of BigBlueButton is known to
// send, comes out byte for byte as it came in. [Failed] and [Answer] make answers of our own in BigBlueButton's shape.
//
// Documents come from servers that may be broken or hostile. Size, depth and every offset are bounded and checked;
// document types are refused, and with them entities but the five of XML. Nothing panics, and the work is linear in
// the size. The package does no I/O.
package xml
