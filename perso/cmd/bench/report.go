package bench

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// Process is what one process used for the measured lot.
type Process struct {
	CPUMS    float64 `json:"cpu_ms_per_card"`
	Few      int64   `json:"rss_bytes_small_lot"` // at the end of the lot that was made before
	Many     int64   `json:"rss_bytes"`           // at the end of the measured one
	PeakFew  int64   `json:"peak_rss_bytes_small_lot"`
	PeakMany int64   `json:"peak_rss_bytes"`
}

// Report is the result of one run. Per card means per good unit of the measured lot.
type Report struct {
	Units       int                `json:"units"`
	Heads       int                `json:"heads"`
	Vaults      int                `json:"vaults"`
	CPUs        int                `json:"cpus"`
	LoadBefore  float64            `json:"load_before"` // of the machine in the minute before: above 0 somebody else was at work
	Seconds     float64            `json:"seconds"`
	CardsPerSec float64            `json:"cards_per_second"`
	CPUMS       float64            `json:"cpu_ms_per_card"`        // of all processes
	VaultCPUMS  float64            `json:"vaults_cpu_ms_per_card"` // of all vaults
	Processes   map[string]Process `json:"processes"`
	Chip        Chip               `json:"chip_floor"`
	Token       float64            `json:"token_floor_cpu_ms_per_card"`
	Operations  map[string]float64 `json:"token_operations_per_card"` // by verb
	FsyncMS     float64            `json:"fsync_floor_ms"`
	Entries     float64            `json:"log_entries_per_card"`
	Bytes       map[string]float64 `json:"file_bytes_per_card"` // by zone
	FarmRatio   float64            `json:"farm_to_chip_floor"`
	VaultRatio  float64            `json:"vault_to_token_floor"`
}

func (r *Report) compare(before, after state) {
	n := float64(r.Units)
	r.CardsPerSec = n / r.Seconds
	r.Entries = float64(after.entries-before.entries) / n
	r.Processes, r.Bytes = map[string]Process{}, map[string]float64{}
	for name, u := range after.used {
		p := Process{CPUMS: milliseconds(u.cpu-before.used[name].cpu) / n, Few: before.used[name].rss, Many: u.rss, PeakFew: before.used[name].peakRSS, PeakMany: u.peakRSS}
		r.Processes[name] = p
		r.CPUMS += p.CPUMS
	}
	for what, bytes := range after.files {
		r.Bytes[what] = float64(bytes-before.files[what]) / n
	}
}

func (r *Report) conclude(vaults []string) {
	for _, name := range vaults {
		r.VaultCPUMS += r.Processes[name].CPUMS
	}
	farms := 0.0
	for name, p := range r.Processes {
		if strings.HasPrefix(name, "farm") {
			farms += p.CPUMS
		}
	}
	r.FarmRatio, r.VaultRatio = farms/r.Chip.CPUMS, r.VaultCPUMS/r.Token
}

// Table writes the report for people.
func (r Report) Table(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(format string, a ...any) { fmt.Fprintf(t, format+"\n", a...) }
	row("\n%d cards, %d heads, %d vaults, %d CPUs, load of the machine before %.1f; chips take no time, the disk is real", r.Units, r.Heads, r.Vaults, r.CPUs, r.LoadBefore)
	row("\nthroughput\t%.0f cards/s\t%.1f s", r.CardsPerSec, r.Seconds)
	row("\nCPU\tms/card\tfloor\tratio")
	row("  all\t%.2f\t%.2f\t%.1f\tchip and token by themselves", r.CPUMS, r.Chip.CPUMS+r.Token, r.CPUMS/(r.Chip.CPUMS+r.Token))
	for _, name := range slices.Sorted(maps.Keys(r.Processes)) {
		p := r.Processes[name]
		row("  %s\t%.2f", name, p.CPUMS)
	}
	row("  vaults\t%.2f\t%.2f\t%.1f\tthe token's own loop", r.VaultCPUMS, r.Token, r.VaultRatio)
	row("  chips\t%.2f\t%.2f\t%.1f\tthe chip's own loop of %d commands", r.FarmRatio*r.Chip.CPUMS, r.Chip.CPUMS, r.FarmRatio, r.Chip.Commands)
	row("\ntoken operations\tper card")
	for _, verb := range slices.Sorted(maps.Keys(r.Operations)) {
		if n := r.Operations[verb]; n >= 0.005 { // the others are at start and by lot
			row("  %s\t%.2f", verb, n)
		}
	}
	row("\nstorage\tper card")
	row("  log entries\t%.1f", r.Entries)
	for _, zone := range slices.Sorted(maps.Keys(r.Bytes)) {
		row("  %s\t%.0f bytes", zone, r.Bytes[zone])
	}
	row("  one fsync\t%.2f ms", r.FsyncMS)
	row("\nmemory, and peak\tafter %d units\tafter %d", r.Units/warmShare, r.Units+r.Units/warmShare)
	for _, name := range slices.Sorted(maps.Keys(r.Processes)) {
		p := r.Processes[name]
		row("  %s\t%.1f (%.1f) MiB\t%.1f (%.1f) MiB", name, mib(p.Few), mib(p.PeakFew), mib(p.Many), mib(p.PeakMany))
	}
	row("\nreal chips\t%.2f s each\t%d under %d heads: %.0f s at --scale 1, %d s at --scale %.2g", r.Chip.PhysicalMS/1000, demoUnits, demoHeads, r.Chip.Seconds, demoSeconds, r.Chip.Scale)
	_ = t.Flush() // a writer that fails is the caller's: he writes last
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }
