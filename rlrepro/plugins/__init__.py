"""What a run names: agents, environments and wrappers, by entry point, `package.module:Name`, or file.

The core imports neither agents nor environments, but asks here:

agents             finds an agent (`find_agent`); agent_description reads its file without torch
environments       finds an environment (`find_env`); env_source makes it, env_layers asks what it is made of
wrappers           finds a wrapper, with its arguments
importing          entry points, modules and files of whoever's
own_code           the bytes of a person's own files, which belong to what was run
"""
