// Package wire adds the commands that start zones to the command line: site, serve, up, demo, chip. They are apart from
// perso/cmd/cli so that the office's commands know nothing of zones, and can be tested without them.
//
// Only the program's main calls it.
package wire

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/cmd/cli"
	"github.com/persoline/persoline/perso/cmd/demo"
	"github.com/persoline/persoline/perso/cmd/progress"
	"github.com/persoline/persoline/perso/cmd/site"
)

// Into completes the environment of the command line.
func Into(env *cli.Env) {
	env.Dial = func(ctx context.Context, dir string) (cli.Office, error) {
		s, err := site.Open(dir)
		if err != nil {
			return nil, err
		}
		return s.Office(ctx)
	}
	env.Extra = append(env.Extra, newSiteCmd, newServeCmd, newUpCmd, newDemoCmd, newChipCmd, newBenchCmd, newHSMCmd, newReadersCmd, newAPDUCmd, newLedgerCmd)
}

func zoneLog(w io.Writer) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// readerHeads are the heads under the farm's PC/SC readers when nobody says how many: half of what one pcscd has.
const readerHeads = 8

// fewer takes so many unless somebody did say.
func fewer(cmd *cobra.Command, via site.Transport, heads *int) {
	if via == site.TransportPCSC && !cmd.Flags().Changed("heads") {
		*heads = readerHeads
	}
}

// possibleHeads refuses what no line can have, before anything is made.
func possibleHeads(via site.Transport, heads int) error {
	most := site.MaxHeads
	if via == site.TransportPCSC {
		most = site.MaxFarmReaders
	}
	if heads < 1 || heads > most {
		return cli.Usage("--heads: %d is not within 1 to %d", heads, most)
	}
	return nil
}

func newSiteCmd(env *cli.Env) *cobra.Command {
	var name, catalogue, transport string
	var heads, lines, vaults int
	var database site.Database
	init := &cobra.Command{
		Use: "init", Short: "Make a new test site: token, throw-away officers, certificates, empty ledger",
		Example: "  perso site init --site ./site --name factory-a --heads 16\n  perso site init --site ./site --lines 2 --vaults 2\n  perso site init --site ./site --heads 4 --transport pcsc\n  perso site init --site ./site --database 'postgres://perso@/ledger?host=/run/postgresql' --ledgers 4", Args: cli.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := perso.ParseName(name)
			if err != nil {
				return cli.Usage("--name: %v", err)
			}
			if lines < 1 || lines > site.MaxLines || vaults < 1 || vaults > site.MaxVaults {
				return cli.Usage("--lines, --vaults: 1 to %d lines and 1 to %d vaults are possible", site.MaxLines, site.MaxVaults)
			}
			via, err := site.ParseTransport(transport)
			if err != nil {
				return cli.Usage("--transport: %v", err)
			}
			fewer(cmd, via, &heads)
			if err := errors.Join(possibleHeads(via, heads), serverURL("database", database.URL)); err != nil {
				return err
			}
			p := site.InitPlan{Dir: env.SiteDir, Name: n, Lines: site.NumberedLines(lines, heads, via), Vaults: vaults, Catalogue: catalogue}
			if database.URL != "" {
				if database.PasswordFile != "" {
					if database.PasswordFile, err = filepath.Abs(database.PasswordFile); err != nil {
						return err
					}
				}
				p.Database = &database
			} else if database.Processes != 0 || database.PasswordFile != "" {
				return cli.Usage("--ledgers, --database-password-file: they are for a database on a server, which --database names")
			}
			s, err := site.Init(cmd.Context(), p, zoneLog(env.Err))
			if errors.Is(err, site.ErrCatalogue) {
				return cli.Hint(err, "--catalogue names such a folder, as 'deploy' of the sources is one")
			}
			if err != nil {
				return err
			}
			pins, err := s.AuditPins()
			if err != nil {
				return err
			}
			return env.Emit(madeSite{Config: s.Config, StatementKey: hex.EncodeToString(pins.StatementKey)}, func(w io.Writer) {
				fmt.Fprintf(w, "site %s made in %s, environment test; what an auditor compares, as --register-pin, --log-key and --statement-key:\n", n, s.Dir)
				fmt.Fprintf(w, "officer register %s\nlog key %s, which is %x\nstatement key %x\n", s.Config.Pin, s.Config.LogKey, pins.LogKey, pins.StatementKey)
				fmt.Fprintf(w, "keys of its throw-away officers (production, security, quality) and order desk are in %s\n", s.OfficersDir())
			})
		},
	}
	init.Flags().StringVar(&name, "name", "site", "the site's name, part of every key label")
	init.Flags().IntVar(&lines, "lines", 1, "lines; with several vaults each line works for its own")
	init.Flags().IntVar(&vaults, "vaults", 1, "vaults: processes that make lots side by side, each lot in one of them")
	init.Flags().IntVar(&heads, "heads", 16, "heads of each line; with --transport pcsc 8, and at most 15")
	init.Flags().StringVar(&transport, "transport", string(site.TransportFarm), "how the heads reach chips: farm, or pcsc for PC/SC readers that the farm makes; site.json names others")
	init.Flags().StringVar(&database.URL, "database", "", "URL of a PostgreSQL or CockroachDB database for the ledger, without a password; nothing means a file of the site's")
	init.Flags().StringVar(&database.PasswordFile, "database-password-file", "", "file with the database's password; without one .pgpass is asked")
	init.Flags().IntVar(&database.Processes, "ledgers", 0, "ledger processes on that database (default 1)")
	init.Flags().StringVar(&catalogue, "catalogue", "deploy", "folder with products and partners to copy")
	return cli.Group("site", "Make a site", "  perso site init --site ./site", init, newAddVaultCmd(env))
}

// madeSite is the result of "site init": site.json, and the key that it does not hold and an auditor asks for.
type madeSite struct {
	site.Config
	StatementKey string `json:"statement_key"`
}

func newAddVaultCmd(env *cli.Env) *cobra.Command {
	var name string
	c := &cobra.Command{
		Use: "add-vault", Short: "Give a stopped site one more vault; lots that are released from then on may be made there",
		Example: "  perso site add-vault --site ./site --name vault-2", Args: cli.Takes(),
		RunE: func(*cobra.Command, []string) error {
			n, err := perso.ParseName(name)
			if err != nil {
				return cli.Usage("--name: %v", err)
			}
			s, err := site.AddVault(env.SiteDir, n)
			if err != nil {
				return err
			}
			return env.Emit(map[string]any{"vaults": s.VaultNames()}, func(w io.Writer) { fmt.Fprintf(w, "site %s has the vaults %v\n", s.Config.Site, s.VaultNames()) })
		},
	}
	c.Flags().StringVar(&name, "name", "vault-2", "the vault's name, part of its receipts")
	return c
}

// gcPercent lets a zone's few MiB grow fivefold between collections: each act leaves some 100 KiB behind, and at Go's
// usual doubling a tenth of the CPU time went into collecting them.
const gcPercent = 400

// zoneMemory is where a zone begins to collect more often instead of growing on: what a large lot adds to the few MiB that live
// would else be taken five times.
const zoneMemory = 40 << 20

// tuneMemory sets both for a process that is one zone.
func tuneMemory() {
	debug.SetGCPercent(gcPercent)
	debug.SetMemoryLimit(zoneMemory)
}

// newServeCmd runs one zone in this process.
func newServeCmd(env *cli.Env) *cobra.Command {
	var line, vault string
	zone := func(name, short string, run func(*site.Site, context.Context, *slog.Logger) error) *cobra.Command {
		return &cobra.Command{
			Use: name, Short: short, Example: "  perso serve " + name + " --site ./site", Args: cli.Takes(),
			RunE: func(cmd *cobra.Command, _ []string) error {
				s, err := site.Open(env.SiteDir)
				if err != nil {
					return err
				}
				tuneMemory()
				return run(s, cmd.Context(), zoneLog(env.Err).With("zone", name))
			},
		}
	}
	lineCmd := zone(site.ZoneLine, "Run one line's heads", func(s *site.Site, ctx context.Context, log *slog.Logger) error {
		return s.ServeLine(ctx, perso.Name(line), log)
	})
	lineCmd.Example = "  perso serve line --line line-1 --site ./site"
	lineCmd.Flags().StringVar(&line, "line", "line-1", "the line's name in site.json")
	vaultCmd := zone(site.ZoneVault, "Run a vault on the site's token", func(s *site.Site, ctx context.Context, log *slog.Logger) error {
		return s.ServeVault(ctx, perso.Name(vault), log)
	})
	vaultCmd.Example += "\n  perso serve vault --name vault-2 --site ./site"
	vaultCmd.Flags().StringVar(&vault, "name", "", "the vault's name in site.json; the first one signs the log, and is meant where none is said")
	return cli.Group("serve", "Run one zone in this process", "  perso serve vault --site ./site",
		zone(site.ZoneBus, "Run the embedded bus server", (*site.Site).ServeBus),
		vaultCmd,
		zone(site.ZoneLedger, "Run the ledger", (*site.Site).ServeLedger),
		lineCmd)
}

func newUpCmd(env *cli.Env) *cobra.Command {
	return &cobra.Command{
		Use: "up", Short: "Run a whole factory on this machine; whatever dies is started again",
		Example: "  perso up --site ./site", Args: cli.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := site.Open(env.SiteDir)
			if err != nil {
				return err
			}
			release, err := site.Hold(s.Dir)
			if err != nil {
				return err
			}
			fmt.Fprintf(env.Err, "site %s (%s) starts on %s, which takes some seconds; logs in %s; stop with Ctrl-C\n",
				s.Config.Site, s.Config.Env, s.Config.Listen, filepath.Join(s.Dir, "log"))
			ctx, cancel := context.WithCancel(cmd.Context())
			told := tellUp(ctx, env, s)
			err = errors.Join(supervisor(env, s).Run(cmd.Context(), s.Processes()), release())
			cancel() // of a supervisor that could not begin nobody waits for the site
			<-told
			fmt.Fprintf(env.Err, "site %s has stopped\n", s.Config.Site)
			return err
		},
	}
}

// tellUp says once that the site is up: its ledger answers the office. told is closed when that is said, or the context ended.
func tellUp(ctx context.Context, env *cli.Env, s *site.Site) (told chan struct{}) {
	told = make(chan struct{})
	go func() {
		defer close(told)
		office, err := s.Ready(ctx)
		if err != nil {
			return // it was stopped before
		}
		fmt.Fprintf(env.Err, "site %s is up, and answers its office\n", s.Config.Site)
		_ = office.Close() // it asked one question, which was answered
	}()
	return told
}

const defaultOrder = "deploy/samples/orders/bootstrap-1000.json"

// supervisor speaks plain words to a terminal, and JSON to whatever collects logs.
func supervisor(env *cli.Env, s *site.Site) *site.Supervisor {
	v := site.NewSupervisor(s, zoneLog(env.Err))
	if env.ErrTTY {
		v.Told = func(e site.Ended) { fmt.Fprintln(env.Err, e) }
	}
	return v
}

func newDemoCmd(env *cli.Env) *cobra.Command {
	o := demo.Options{Out: env.Out}
	var transport string
	c := &cobra.Command{
		Use: "demo", Short: "Do the main job once: order file in, programmed chips, EIS batch and verified log out",
		Example: "  perso demo\n  perso demo --order my-order.json --heads 32 --scale 1\n  perso demo --product m2m-200a-mff2", Args: cli.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if env.JSON {
				return cli.Usage("--json: the demo talks to people; perso up and perso lot answer programs")
			}
			via, err := site.ParseTransport(transport)
			if err != nil {
				return cli.Usage("--transport: %v", err)
			}
			o.Transport = via
			fewer(cmd, via, &o.Heads)
			if err := possibleHeads(via, o.Heads); err != nil {
				return err
			}
			o.Progress = func(chipTime string) demo.Progress {
				return progress.New(env.Out, progress.Options{TTY: env.OutTTY, Width: env.Width, ChipTime: chipTime})
			}
			if !cmd.Flags().Changed("order") && o.Product == "" {
				o.Order = defaultOrder
			} else if o.Order != "" && o.Product != "" {
				return cli.Usage("--order and --product: an order file names its product")
			}
			return demo.Run(cmd.Context(), o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.Dir, "dir", "demo", "folder of the demo's site; an earlier demo there is replaced")
	f.StringVar(&o.Order, "order", "", "the OEM's order file (default "+defaultOrder+")")
	f.StringVar(&o.Product, "product", "", "make the sample order of this product ('perso product list' names them)")
	f.StringVar(&o.Catalogue, "catalogue", "deploy", "folder with products and partners")
	f.IntVar(&o.Heads, "heads", 16, "heads of the line; with --transport pcsc 8, and at most 15")
	f.StringVar(&transport, "transport", string(site.TransportFarm), "how the heads reach chips: farm, or pcsc for PC/SC readers that the farm makes")
	f.Float64Var(&o.Scale, "scale", 0.2, "chip time: 1 is as slow as real chips, 0 takes none")
	f.Uint64Var(&o.Seed, "seed", 1, "seed of the chips and their faults")
	return c
}

func newChipCmd(env *cli.Env) *cobra.Command {
	var line string
	var readers int
	farm := &cobra.Command{
		Use: "farm", Short: "Run a line's farm of virtual chips",
		Example: "  perso chip farm --site ./site\n  perso chip farm --site ./site --vpcd 4", Args: cli.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := site.Open(env.SiteDir)
			if err != nil {
				return err
			}
			tuneMemory()
			return s.ServeFarm(cmd.Context(), perso.Name(line), readers, zoneLog(env.Err).With("zone", site.ZoneFarm))
		},
	}
	farm.Flags().StringVar(&line, "line", "", "the line whose farm it is; the first where none is said")
	farm.Flags().IntVar(&readers, "vpcd", 0, "so many heads under PC/SC readers of a pcscd of its own, and a test reader behind them")
	return cli.Group("chip", "Virtual chips", "  perso chip farm --site ./site", farm, newChipMakeCmd(env), newChipBinsCmd(env), newChipAPDUCmd(env), newChipExamineCmd(env))
}
