#!/usr/bin/env -S python3 -B
import no_such_module
