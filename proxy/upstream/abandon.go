package upstream

// Abandon takes back a Begin without an outcome, for a request that is not going to be sent from here.
func (a Attempt) Abandon() {
	a.Upstream.stats.Abandon()
	a.Upstream.release()
}
