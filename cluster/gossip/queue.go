package gossip

import "sync"

// queue is a bounded FIFO of byte slices between memberlist's callbacks and our
// workers. Pushing never blocks; when full the oldest goes.
type queue struct {
	maxItems, maxBytes int
	ready              chan struct{} // cap 1: there is something to pop

	mu      sync.Mutex
	items   [][]byte
	bytes   int
	dropped uint64
}

func newQueue(maxItems, maxBytes int) *queue {
	return &queue{maxItems: maxItems, maxBytes: maxBytes, ready: make(chan struct{}, 1)}
}

// push takes ownership of b.
func (q *queue) push(b []byte) {
	q.mu.Lock()
	q.items = append(q.items, b)
	q.bytes += len(b)
	for len(q.items) > 1 && (len(q.items) > q.maxItems || q.bytes > q.maxBytes) {
		q.shift()
		q.dropped++
	}
	q.mu.Unlock()
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

func (q *queue) pop() ([]byte, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) == 0 {
		return nil, false
	}
	return q.shift(), true
}

// shift is called with the lock held and something in the queue.
func (q *queue) shift() []byte {
	b := q.items[0]
	q.items[0] = nil
	q.items = q.items[1:]
	q.bytes -= len(b)
	if len(q.items) == 0 {
		q.items = nil // let go of the array's consumed head
	}
	return b
}

func (q *queue) drops() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.dropped
}
