package chipfarm_test

import (
	"github.com/persoline/persoline/lineside"
	"github.com/persoline/persoline/lineside/card"
	"github.com/persoline/persoline/lineside/chipfarm"
)

var (
	_ lineside.Machine = (*chipfarm.Client)(nil)
	_ lineside.Machine = (*chipfarm.Session)(nil)
	_ card.Transport   = chipfarm.Head{}
	_ card.Player      = chipfarm.Head{}
)
