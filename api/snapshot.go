package api

import "time"

// ContentBackup is the content type of a backup file.
const ContentBackup = "application/vnd.lbnode.backup"

// MaxBackup bounds a backup file, in bytes.
const MaxBackup = 64 << 20

// BackupInfo is what a backup file says of itself.
type BackupInfo struct {
	ClusterID string    `json:"cluster_id"`
	Index     uint64    `json:"index"` // the last log entry that it has the effect of
	Time      time.Time `json:"time"`
	Node      string    `json:"node"` // that wrote it
	Version   string    `json:"version"`
	Objects   int       `json:"objects"`
	Size      int64     `json:"size"` // bytes
	SHA256    string    `json:"sha256"`
}

// RestoreResult is the answer of PUT /snapshot.
type RestoreResult struct {
	DryRun  bool           `json:"dry_run"`
	Applied bool           `json:"applied"` // something was changed
	Index   uint64         `json:"index"`   // log index of the change, or of what the difference was made from
	Backup  BackupInfo     `json:"backup"`
	Objects []ObjectChange `json:"objects"` // what changes, or would; without the unchanged ones
}

// BackupStatus is the answer of GET /snapshot/schedule: how the answering node's scheduled backups are doing.
type BackupStatus struct {
	Enabled     bool       `json:"enabled"`
	Dir         string     `json:"dir"`
	Interval    string     `json:"interval"`
	Keep        int        `json:"keep"`         // so many files of this node
	LastSuccess *time.Time `json:"last_success"` // when the newest file was found to be up to date; null = not yet
	LastFile    string     `json:"last_file"`    // the newest one, "" = none yet
	LastIndex   uint64     `json:"last_index"`   // what it has the effect of
	LastError   string     `json:"last_error"`   // why the last attempt failed, "" = it did not
	LastErrorAt *time.Time `json:"last_error_at"`
}
