package tree

import "github.com/persoline/persoline/perso/checkpoint"

// Add takes an entry in without storing anything, and tells each full tile that it completes: for who computes a log's tiles and root
// from its entries alone, beginning with new(Log).
func (l *Log) Add(body []byte, full func(level, n int64, data []byte)) {
	l.size++
	h := checkpoint.Leaf(body)
	for level := 0; ; level++ {
		done := l.grow(level, h)
		if done == nil {
			return
		}
		full(int64(level), l.rows[level].next-1, done.data(width))
		h = done.root()
	}
}
