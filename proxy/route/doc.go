// Package route decides where a request goes.
//
// A [Compiler] turns a view into a [Table], which is immutable and answers [Table.Match] without a lock: a
// [Target] (the route's settings) and a [Group] (the backends of its pool that the request's frontend may
// use, with their picker). Compiling again reuses what did not change, so that round robin goes on where it
// was and no hash is built anew.
//
// # Which route wins
//
// Of all routes that match, the one that comes first in this order:
//
//  1. higher priority
//  2. host: exact, then *.suffix by length, then any
//  3. path: exact, then regex by length of the expression, then prefix by length
//  4. with a method list before without
//  5. more header and query conditions
//  6. id, in the order of its bytes
//
// # Which path is compared
//
// A request is forwarded with the path as it came, and matched on a decoded copy without dot segments. If
// the path holds escaped slashes or backslashes, or dot segments, a backend may read it in the one way or in
// the other, so both readings are matched, and when they lead to different routes the request is refused
// with [ErrAmbiguous]. Paths that hold NUL, climb above the root or are no valid escapes are refused always.
//
// # Tags and empty groups
//
// The frontend of a request is the one whose host fits best. Only backends with all its required tags are
// in the group. Groups are made when first used and kept. When failing health (not the operator) has left
// no backend of a group, the pool's on_empty decides: see [Group.Pick].
//
// Package proxy calls Match for each request; nothing here does I/O or knows of HTTP connections.
package route
