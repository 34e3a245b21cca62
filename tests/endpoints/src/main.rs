//! Real TLS stacks against each other, and what the agent says about it held against what they say.
mod driver;
mod protocol;
mod wire;
fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["driver", stack] => driver::run(stack, None),
        ["driver", stack, program] => driver::run(stack, Some(program)),
        ["records", capture, keys] => {
            let views = wire::read(capture.as_ref(), keys.as_ref())?;
            let mut ports: Vec<_> = views.iter().collect();
            ports.sort_by_key(|(ports, _)| (ports.1, ports.0));
            for ((client, server), view) in ports {
                println!("client port {client}, server port {server}");
                for (side, records) in [("client", &view.client), ("server", &view.server)] {
                    for record in records {
                        println!("  {side} {record}");
                    }
                }
            }
            Ok(())
        }
        _ => anyhow::bail!("usage"),
    }
}
