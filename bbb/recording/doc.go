// Package recording keeps recordings of BigBlueButton: it imports them, says who may see them, and plays them.
//
// What a recording is, whose, and how visible, is in the index in the replicated state; its files are in a [Files]: a
// directory of each node ([Dir]) or a bucket that all nodes share ([Bucket]). A [Service] is what tenants and servers
// call: getRecordings and the calls that change recordings, uploads of a tar by the server that made a recording, and
// playback with ranges. [Parse] reads BigBlueButton's metadata.xml.
//
// A tenant is checked at each call, and again where a change is applied. Names of files come from archives and URLs of
// strangers: they are checked by [CheckName] and opened below a root that they cannot leave. Deleted recordings are
// removed from every node by [Service.Sweep], which trusts the index only.
package recording
