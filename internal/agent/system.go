package agent

import (
	"context"
	"os/exec"
	"strings"
	"time"
)

const systemctlTimeout = 3 * time.Second

// systemStops says that the whole system goes down, as systemd sees it. Without systemd it says no.
func systemStops(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, systemctlTimeout)
	defer cancel()
	out, _ := exec.CommandContext(ctx, "systemctl", "is-system-running").Output() // exits 1 unless "running"
	return strings.TrimSpace(string(out)) == "stopping"
}
