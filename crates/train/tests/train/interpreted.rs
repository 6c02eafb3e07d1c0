//! A device that interprets plans slowly: the compiler's own test machine behind the `Device` interface. The
//! crate's tests so hold on any machine, whatever the fast devices do.

#[path = "../../../compile/tests/interpreter/mod.rs"]
mod interpreter;

use interpreter::Machine;
use std::collections::BTreeMap;
use std::sync::Arc;
use thalweg_device::{Allocation, Device, DeviceError, DeviceInfo, MemoryUse, Plan, Program, StageTime};

/// The device.
#[derive(Default)]
pub struct Interpreted {
    memory: BTreeMap<u32, Vec<u8>>,
    programs: BTreeMap<u32, (Arc<Plan>, Vec<Allocation>)>,
    next: u32,
    /// Runs so far.
    pub runs: usize,
}

impl Device for Interpreted {
    fn info(&self) -> DeviceInfo {
        DeviceInfo {
            name: "interpreted".into(),
            description: "interpreter of plans".into(),
            workers: 1,
            regions: true,
            half_products: false,
            keeps_data: false,
        }
    }
    fn allocate(&mut self, bytes: usize) -> Result<Allocation, DeviceError> {
        self.next += 1;
        self.memory.insert(self.next, vec![0; bytes]);
        Ok(Allocation(self.next))
    }
    fn free(&mut self, allocation: Allocation) {
        assert!(self.programs.values().all(|(_, b)| !b.contains(&allocation)), "freed while bound");
        assert!(self.memory.remove(&allocation.0).is_some(), "freed twice");
    }
    fn write(&mut self, to: Allocation, offset: usize, bytes: &[u8]) -> Result<(), DeviceError> {
        self.memory.get_mut(&to.0).unwrap()[offset..offset + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
    fn read(&mut self, from: Allocation, offset: usize, bytes: &mut [u8]) -> Result<(), DeviceError> {
        bytes.copy_from_slice(&self.memory[&from.0][offset..offset + bytes.len()]);
        Ok(())
    }
    fn load(&mut self, plan: Arc<Plan>, bindings: &[Allocation]) -> Result<Program, DeviceError> {
        for (b, a) in plan.bindings.iter().zip(bindings) {
            assert_eq!(self.memory[&a.0].len(), b.bytes(), "binding '{}'", b.name);
        }
        self.next += 1;
        self.programs.insert(self.next, (plan, bindings.to_vec()));
        Ok(Program(self.next))
    }
    fn unload(&mut self, program: Program) {
        assert!(self.programs.remove(&program.0).is_some(), "unloaded twice");
    }
    fn run(&mut self, program: Program) -> Result<(), DeviceError> {
        self.runs += 1;
        let (plan, bindings) = self.programs[&program.0].clone();
        let mut machine = Machine::new(&plan);
        for (bytes, a) in machine.bindings.iter_mut().zip(&bindings) {
            bytes.clone_from(&self.memory[&a.0]);
        }
        machine.run(&plan);
        for (bytes, a) in machine.bindings.iter().zip(&bindings) {
            self.memory.insert(a.0, bytes.clone());
        }
        Ok(())
    }
    fn wait(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }
    fn needs(&self, plans: &[Arc<Plan>]) -> MemoryUse {
        MemoryUse { arena: plans.iter().map(|p| p.arena).max().unwrap_or(0), ..MemoryUse::default() }
    }
    fn memory(&self) -> MemoryUse {
        let plans: Vec<Arc<Plan>> = self.programs.values().map(|(p, _)| Arc::clone(p)).collect();
        MemoryUse { allocated: self.memory.values().map(Vec::len).sum(), ..self.needs(&plans) }
    }
    fn profile(&mut self, program: Program) -> Result<Vec<StageTime>, DeviceError> {
        self.run(program)?;
        Ok(Vec::new())
    }
}
